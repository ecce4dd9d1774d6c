// A fuzzer with Go as the oracle. Random requests, odd in their heads, framing, paths, queries and
// JSON, go through the real proxy to Go's own HTTP server, and straight to a second such server.
//
// Each case checks that
//   - no request that Go takes for a create passes the proxy without all labels;
//   - each request that passes is answered, in order, and is the one that Go sees without the
//     proxy: the same method, path, query, fields and body, except for the labels;
//   - the proxy has refused all other requests, and said so.
//
// Usage: differential -proxy PATH [-seed N] [-seconds N] [-cases N] [-input FILE] [-save DIR]
// A failing input is shrunk, printed and, with -save, written to a file.

package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"time"
)

var nolog = log.New(io.Discard, "", 0)

// patience is the longest that a case may take before it counts as hanging.
const patience = 20 * time.Second

type runner struct {
	dir             string
	through, direct *side
	proxy           *exec.Cmd
	requests        int
	refused         int
	creates         int
}

// input is what is sent on one connection.
type input struct {
	bytes []byte
	// cuts are the positions at which the bytes are split into several writes.
	cuts []int
	// isLate delays the half-close at the end.
	isLate bool
	legacy bool
}

// answer is a response as the client receives it.
type answer struct {
	status int
	// seen is the index of the request that the daemon answers, or -1.
	seen  int
	own   bool
	close bool
	body  string
}

func main() {
	proxy := flag.String("proxy", "", "the proxy's `binary`")
	seed := flag.Int64("seed", time.Now().UnixNano(), "where to begin")
	seconds := flag.Float64("seconds", 60, "how long to go on")
	cases := flag.Int("cases", 0, "how many cases at most; 0 is no limit")
	file := flag.String("input", "", "a `file` to send instead of random bytes")
	save := flag.String("save", "", "a `directory` for inputs that fail")
	keep := flag.Bool("keep-going", false, "go on after a failure")
	flag.Parse()
	// The proxy dies with the thread that started it.
	runtime.LockOSThread()
	r, err := start(*proxy)
	if err != nil {
		fmt.Fprintln(os.Stderr, "differential:", err)
		os.Exit(2)
	}
	status := 0
	if *file != "" {
		bytes, err := os.ReadFile(*file)
		if err != nil {
			fmt.Fprintln(os.Stderr, "differential:", err)
			os.Exit(2)
		}
		for _, legacy := range []bool{true, false} {
			what, log := r.run(input{bytes: bytes, legacy: legacy})
			fmt.Printf("legacy %v: %s\n%s", legacy, what, log)
			if what != "" {
				status = 1
			}
		}
	} else {
		fmt.Println("seed", *seed)
		status = r.fuzz(*seed, *seconds, *cases, *save, *keep)
	}
	r.stop()
	os.Exit(status)
}

func start(proxy string) (*runner, error) {
	dir, err := os.MkdirTemp("", "dlp-oracle.")
	if err != nil {
		return nil, err
	}
	r := &runner{dir: dir}
	if r.through, err = newSide(filepath.Join(dir, "daemon.sock")); err != nil {
		return nil, err
	}
	if r.direct, err = newSide(filepath.Join(dir, "direct.sock")); err != nil {
		return nil, err
	}
	args := []string{"--daemon", filepath.Join(dir, "daemon.sock"), "--listen", filepath.Join(dir, "proxy.sock")}
	for key, value := range labels {
		args = append(args, "--label", key+"="+value)
	}
	// In the order of changeLines.
	args = append(args[:4], "--label", "ci.job="+labels["ci.job"], "--label", "note="+labels["note"])
	r.proxy = exec.Command(proxy, args...)
	r.proxy.Env = append(os.Environ(), "RUST_LOG=error")
	r.proxy.Stderr = os.Stderr
	r.proxy.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.proxy.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("unix", filepath.Join(dir, "proxy.sock"))
		if err == nil {
			conn.Close()
			return r, nil
		}
		if time.Now().After(deadline) {
			r.stop()
			return nil, fmt.Errorf("the proxy does not listen: %v", err)
		}
	}
}

func (r *runner) stop() {
	r.proxy.Process.Kill()
	r.proxy.Wait()
	os.RemoveAll(r.dir)
}

func (r *runner) fuzz(seed int64, seconds float64, cases int, save string, keep bool) int {
	began := time.Now()
	status, n, last := 0, 0, began
	known := map[string]int{}
	for ; cases == 0 || n < cases; n++ {
		now := time.Now()
		if now.Sub(began).Seconds() > seconds {
			break
		}
		if now.Sub(last) > 5*time.Minute {
			last = now
			fmt.Printf("%v: %d cases, %d requests, %d creates labelled, %d refusals\n", now.Sub(began).Round(time.Second), n, r.requests, r.creates, r.refused)
		}
		in := generate(rand.New(rand.NewSource(seed + int64(n))))
		what, _ := r.run(in)
		if what == "" {
			continue
		}
		status = 1
		kind := kindOf(what)
		known[kind]++
		if known[kind] > 1 {
			continue
		}
		small := r.shrink(in, kind)
		what, log := r.run(small)
		fmt.Printf("FAILED, -seed %d -cases 1: %s\nlegacy %v, input %q\n%s\n", seed+int64(n), what, small.legacy, small.bytes, log)
		if save != "" {
			os.MkdirAll(save, 0o777)
			os.WriteFile(filepath.Join(save, fmt.Sprintf("%d.http", seed+int64(n))), small.bytes, 0o666)
		}
		if !keep {
			n++
			break
		}
	}
	took := time.Since(began).Seconds()
	fmt.Printf("%d cases in %.0f s (%.0f a second): %d requests reached the daemon, %d of them labelled creates; the proxy refused %d\n",
		n, took, float64(n)/took, r.requests, r.creates, r.refused)
	for kind, n := range known {
		fmt.Printf("%d times: %s\n", n, kind)
	}
	return status
}

// kindOf returns what a failure has in common with others of its kind: the text before the details.
func kindOf(what string) string {
	kind, _, _ := strings.Cut(what, ": ")
	kind, _, _ = strings.Cut(kind, "\"")
	return kind
}

// shrink makes the input as small as possible while it fails in the same way.
func (r *runner) shrink(in input, kind string) input {
	fails := func(in input) bool {
		what, _ := r.run(in)
		return what != "" && kindOf(what) == kind
	}
	if whole := (input{bytes: in.bytes, legacy: in.legacy}); fails(whole) {
		in = whole
	}
	deadline := time.Now().Add(30 * time.Second)
	for size := len(in.bytes) / 2; size > 0; size /= 2 {
		for at := 0; at+size <= len(in.bytes) && time.Now().Before(deadline); {
			less := in
			less.bytes = append(bytes.Clone(in.bytes[:at]), in.bytes[at+size:]...)
			less.cuts = nil
			if fails(less) {
				in = less
			} else {
				at += size
			}
		}
	}
	return in
}

// run sends the input both ways. It returns what is wrong, or nothing, and what the daemon saw.
func (r *runner) run(in input) (string, string) {
	r.through.reset(in.legacy)
	r.direct.reset(in.legacy)
	got, err := r.send("proxy.sock", in)
	if err != nil {
		return fmt.Sprintf("the proxy hangs or breaks: %v", err), ""
	}
	through := r.through.take()
	whole := in
	whole.cuts, whole.isLate = nil, false
	plain, err := r.send("direct.sock", whole)
	if err != nil {
		return fmt.Sprintf("Go itself hangs: %v", err), ""
	}
	direct := r.direct.take()
	what := r.compare(through, direct, got, plain)
	if what == "" {
		return "", ""
	}
	var log strings.Builder
	for _, request := range through {
		fmt.Fprintf(&log, "  through: own %v %v\n", request.isOwn, request)
	}
	for _, request := range direct {
		fmt.Fprintf(&log, "  direct:  %v\n", request)
	}
	for _, answer := range got {
		fmt.Fprintf(&log, "  answer:  %+v\n", answer)
	}
	for _, answer := range plain {
		fmt.Fprintf(&log, "  Go's:    %+v\n", answer)
	}
	return what, log.String()
}

func (r *runner) send(socket string, in input) ([]answer, error) {
	conn, err := net.Dial("unix", filepath.Join(r.dir, socket))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	unix := conn.(*net.UnixConn)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		at := 0
		for _, cut := range append(in.cuts, len(in.bytes)) {
			if _, err := conn.Write(in.bytes[at:cut]); err != nil {
				return
			}
			if at = cut; cut < len(in.bytes) {
				time.Sleep(200 * time.Microsecond)
			}
		}
		if in.isLate {
			time.Sleep(5 * time.Millisecond)
		}
		unix.CloseWrite()
	}()
	all, err := io.ReadAll(conn)
	if err, ok := err.(net.Error); ok && err.Timeout() {
		return nil, err
	}
	conn.Close()
	<-sent
	return answers(all), nil
}

// answers parses what a client received. It does not know the methods, so isHead guesses.
func answers(all []byte) []answer {
	var list []answer
	reader := bufio.NewReader(bytes.NewReader(all))
	for {
		if _, err := reader.Peek(1); err != nil {
			return list
		}
		request := &http.Request{Method: "GET"}
		if head, _ := reader.Peek(min(reader.Size(), len(all))); isHead(head) {
			request.Method = "HEAD"
		}
		response, err := http.ReadResponse(reader, request)
		if err != nil {
			return append(list, answer{status: -1, seen: -1, body: err.Error()})
		}
		if response.StatusCode == 100 {
			continue
		}
		answer := answer{status: response.StatusCode, seen: -1}
		fmt.Sscan(response.Header.Get("X-Seen"), &answer.seen)
		if response.StatusCode == 101 || response.Header.Get("Content-Type") == "application/vnd.docker.raw-stream" {
			body, _ := io.ReadAll(reader)
			answer.body = string(body)
			return append(list, answer)
		}
		body, err := io.ReadAll(response.Body)
		answer.body, answer.close = string(body), response.Close
		if err != nil {
			answer.body += " BROKEN: " + err.Error()
		}
		answer.own = strings.Contains(answer.body, "docker-label-proxy") ||
			answer.seen < 0 && (answer.status == 301 || request.Method == "HEAD") ||
			answer.body == `{"message":"no such thing"}` && answer.seen < 0
		list = append(list, answer)
	}
}

// isHead returns whether the response at the start of the bytes announces a body that does not
// follow: after it comes nothing, or another response. No body here begins like a response.
func isHead(text []byte) bool {
	_, behind, found := bytes.Cut(text, []byte("\r\n\r\n"))
	return found && (len(behind) == 0 || bytes.HasPrefix(behind, []byte("HTTP/1."))) &&
		!bytes.Contains(text[:len(text)-len(behind)], []byte("hunked")) &&
		!bytes.Contains(text[:len(text)-len(behind)], []byte("raw-stream"))
}

// compare returns what is wrong, or nothing.
func (r *runner) compare(through, direct []*seen, got, plain []answer) string {
	var clients []int
	for i, request := range through {
		if request.lacks != "" {
			return fmt.Sprintf("unlabelled %s: %v", request.lacks, request)
		}
		if !request.isOwn {
			clients = append(clients, i)
			r.requests++
			if request.method == "POST" && strings.HasSuffix(request.path, "/create") {
				r.creates++
			}
		}
	}
	next := 0
	for i, answer := range got {
		if answer.own {
			r.refused++
			if i < len(plain) && (plain[i].seen < 0 || direct[plain[i].seen].tunnel != nil) {
				// Go ends the connection at a request that the proxy refuses for another reason, such
				// as a malformed Host before a malformed body, or turns it into a tunnel. There is
				// nothing to compare with what follows.
				return ""
			}
			continue
		}
		if answer.status < 0 {
			return fmt.Sprintf("an answer that cannot be read: number %d, %s", i, answer.body)
		}
		if answer.seen < 0 {
			// Go's server refused this, so it must also refuse it without the proxy.
			if i >= len(plain) || plain[i].seen >= 0 || plain[i].status != answer.status {
				return fmt.Sprintf("Go refuses what is sent to it only by the proxy: number %d, %d %q", i, answer.status, answer.body)
			}
			continue
		}
		if next == len(clients) || clients[next] != answer.seen {
			return fmt.Sprintf("answers out of order: number %d", i)
		}
		next++
		request := through[answer.seen]
		if i >= len(plain) || plain[i].seen < 0 {
			return fmt.Sprintf("a request that Go does not see: number %d, %v", i, request)
		}
		other := direct[plain[i].seen]
		if what := differ(request, other, answer, plain[i]); what != "" {
			return what
		}
	}
	if next < len(clients) {
		// A response may be lost if the proxy meanwhile finds that the body is malformed, or if the
		// client breaks off within it.
		last := through[clients[len(clients)-1]]
		if !(len(clients)-next == 1 && last.bodyErr) {
			return fmt.Sprintf("a request that the client is not told of: %v", through[clients[next]])
		}
	}
	// Requests without a response.
	if len(got) < len(plain) && (len(got) == 0 || !got[len(got)-1].own && !got[len(got)-1].close) {
		wanted := plain[len(got)]
		if wanted.seen >= 0 && !direct[wanted.seen].bodyErr && wanted.status/100 != 4 {
			return fmt.Sprintf("a request without an answer: %v", direct[wanted.seen])
		}
	}
	return ""
}

// hops are fields that the proxy may change: those of one hop, and those of a rewritten body.
var hops = []string{"Connection", "Upgrade", "Transfer-Encoding", "Trailer", "Content-Length", "Expect"}

// differ returns how a request that passed differs from the one that the client sent, or nothing.
func differ(request, other *seen, answer, plain answer) string {
	what := func(name string, a, b any) string {
		return fmt.Sprintf("another %s: %q instead of %q, of %v", name, a, b, request)
	}
	route := request.path
	if m := version.FindStringSubmatch(route); m != nil {
		route = m[1]
	}
	isJSON := false
	switch route {
	case "/containers/create", "/volumes/create", "/networks/create", "/secrets/create", "/configs/create",
		"/services/create", "/swarm/init", "/swarm/update":
		isJSON = request.method == "POST"
	default:
		isJSON = request.method == "POST" && updates.MatchString(route)
	}
	isQuery := request.method == "POST" && (route == "/build" || route == "/commit" || route == "/images/create")
	switch {
	case request.method != other.method:
		return what("method", request.method, other.method)
	case request.path != other.path:
		return what("path", request.path, other.path)
	case !isQuery && !sameQuery(request, other, isJSON):
		return what("query", request.rawQuery, other.rawQuery)
	// Go takes the host from a target in absolute form. The proxy does not send that form.
	case request.host != other.host && request.target == other.target:
		return what("host", request.host, other.host)
	case other.bodyErr && !request.bodyErr:
		return what("end of the body", request.bodyErr, other.bodyErr)
	case request.bodyErr:
		// The proxy found that the body is malformed. It may be stricter than Go.
		return ""
	case !isJSON && !bytes.Equal(request.body, other.body):
		return what("body", request.body, other.body)
	case !isJSON && !isQuery && answer.status != plain.status:
		// Upgrade passes only to the endpoints that know one.
		return what("status", fmt.Sprint(answer.status), fmt.Sprint(plain.status))
	case !bytes.Equal(request.tunnel, other.tunnel):
		return what("tunnel", request.tunnel, other.tunnel)
	case answer.body != plain.body && !isJSON:
		return what("answer", answer.body, plain.body)
	}
	a, b := request.header.Clone(), other.header.Clone()
	for _, hop := range hops {
		a.Del(hop)
		b.Del(hop)
	}
	if isJSON || isQuery {
		a.Del("Content-Type")
		b.Del("Content-Type")
	}
	if !reflect.DeepEqual(a, b) {
		return what("header", fmt.Sprint(a), fmt.Sprint(b))
	}
	if isJSON {
		return sameMeaning(route, request, other)
	}
	return ""
}

// sameQuery compares queries. A labelled one may lack an empty parameter at its end.
func sameQuery(request, other *seen, isJSON bool) bool {
	return request.rawQuery == other.rawQuery || isJSON && reflect.DeepEqual(queryOf(request), queryOf(other))
}

// forget removes the labels, and what Podman would take for them, since it joins them as KEY=VALUE.
// An update of a swarm without labels gets the current ones.
func forget(have map[string]string, route string) map[string]string {
	rest := map[string]string{}
	for key, value := range have {
		before, _, _ := strings.Cut(key, "=")
		if _, ok := labels[before]; !ok && !(route == "/swarm/update" && key == "old") {
			rest[key] = value
		}
	}
	return rest
}

// sameMeaning compares what Go decodes from two bodies, except for labels and volumes.
func sameMeaning(route string, request, other *seen) string {
	if route == "/containers/create" {
		return sameContainer(request, other)
	}
	a, b := &Object{}, &Object{}
	if !first(request.body, a) {
		if first(other.body, b) {
			return fmt.Sprintf("a body that Go reads no more: %q instead of %q", request.body, other.body)
		}
		return ""
	}
	if len(bytes.TrimSpace(other.body)) > 0 && !first(other.body, b) {
		return fmt.Sprintf("a body that Go would not read: %q instead of %q", request.body, other.body)
	}
	for _, either := range []*Object{a, b} {
		if either.ConfigFrom != nil && either.ConfigFrom.Network != "" {
			either.Scope = ""
		}
		either.Labels = forget(either.Labels, route)
		either.Spec.Labels = forget(either.Spec.Labels, route)
		if spec := either.TaskTemplate.ContainerSpec; spec != nil {
			spec.Labels, spec.Mounts = forget(spec.Labels, route), nil
		}
	}
	if !reflect.DeepEqual(a, b) {
		return fmt.Sprintf("another meaning: %q instead of %q", request.body, other.body)
	}
	return ""
}

func sameContainer(request, other *seen) string {
	a, aHost := containerOf(request)
	// One without a member of its own makes nothing, but becomes one that does.
	b, bHost := containerOf(other)
	switch {
	case a == nil && b == nil:
		return ""
	case a == nil:
		return fmt.Sprintf("a body that Go reads no more: %q instead of %q", request.body, other.body)
	case b == nil && len(bytes.TrimSpace(other.body)) > 0 && !first(other.body, &Container{}) && !first(other.body, &OldContainer{}):
		return fmt.Sprintf("a body that Go would not read: %q instead of %q", request.body, other.body)
	case b == nil:
		b = &Config{}
	}
	if bHost == nil {
		bHost = &hostConfig{}
	}
	a.Labels, b.Labels = forget(a.Labels, ""), forget(b.Labels, "")
	if !reflect.DeepEqual(a, b) || aHost.Memory != bHost.Memory || aHost.NetworkMode != bHost.NetworkMode ||
		!reflect.DeepEqual(aHost.Tmpfs, bHost.Tmpfs) || !reflect.DeepEqual(aHost.VolumesFrom, bHost.VolumesFrom) {
		return fmt.Sprintf("another meaning: %q instead of %q", request.body, other.body)
	}
	return ""
}
