// The daemon's side. Go's own net/http, net/url and encoding/json read each request, and the result
// is recorded. Creates are decoded into structs with the names of moby's fields, to find out
// whether they would create anything without the labels.

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// labels are those of the proxy.
var labels = map[string]string{"ci.job": "42", "note": `a "b" c`}

// changeLines are the lines with which the changes of a commit or an import must end.
var changeLines = []string{`LABEL "ci.job"="42"`, `LABEL "note"="a \"b\" c"`}

// seen is a request as Go has read it.
type seen struct {
	method, path, rawQuery string
	proto                  int
	header                 http.Header
	host, target           string
	legacy                 bool
	body                   []byte
	bodyErr                bool
	status                 int
	tunnel                 []byte
	// isOwn is set for subrequests of the proxy.
	isOwn bool
	// lacks is what it would create without labels, or nothing.
	lacks string
}

func (s *seen) String() string {
	return fmt.Sprintf("%s %q ?%q body %q (broken: %v) -> %d", s.method, s.path, s.rawQuery, s.body, s.bodyErr, s.status)
}

// side is one HTTP server and what it has seen since the last reset.
type side struct {
	mu       sync.Mutex
	idle     *sync.Cond
	open     int
	requests []*seen
	// created holds the names of the volumes that were created with labels.
	created map[string]bool
	// api is the version of the API that it reports.
	api string
	// legacy is whether members of HostConfig are also read at the top level.
	legacy bool
}

func newSide(socket string) (*side, error) {
	s := &side{created: map[string]bool{}, api: "1.45", legacy: true}
	s.idle = sync.NewCond(&s.mu)
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: s, ErrorLog: nolog}
	go server.Serve(counted{listener, s})
	return s, nil
}

// counted is a listener that counts the connections which the server has not finished with. It
// finishes with one by closing it, or by closing it for writing when only waiting is left to do.
type counted struct {
	net.Listener
	side *side
}

type countedConn struct {
	*net.UnixConn
	side *side
	once sync.Once
}

func (l counted) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.side.mu.Lock()
	l.side.open++
	l.side.mu.Unlock()
	return &countedConn{UnixConn: conn.(*net.UnixConn), side: l.side}, nil
}

func (c *countedConn) done() {
	c.once.Do(func() {
		c.side.mu.Lock()
		c.side.open--
		c.side.idle.Broadcast()
		c.side.mu.Unlock()
	})
}

func (c *countedConn) CloseWrite() error {
	defer c.done()
	return c.UnixConn.CloseWrite()
}

func (c *countedConn) Close() error {
	defer c.done()
	return c.UnixConn.Close()
}

func (s *side) reset(legacy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests, s.created, s.legacy = nil, map[string]bool{}, legacy
	s.api = "1.45"
	if !legacy {
		s.api = "1.47"
	}
}

// take waits until no connection is open, and returns what was seen.
func (s *side) take() []*seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.open > 0 {
		s.idle.Wait()
	}
	return s.requests
}

var (
	// The versions that Docker accepts, and those that Podman accepts.
	version  = regexp.MustCompile(`^/v[0-9.][0-9A-Za-z.-]*(/(?s:.*))$`)
	hijacks  = regexp.MustCompile(`^(/containers/.*/attach|/exec/.*/start|/session)$`)
	updates  = regexp.MustCompile(`^/(services|secrets|configs)/(?s:.*)/update$`)
	isMissed = regexp.MustCompile(`/(no|missing)(/|$)`)
)

// cleanPath cleans a path as gorilla/mux does.
func cleanPath(p string) string {
	if p == "" {
		return "/"
	}
	if p[0] != '/' {
		p = "/" + p
	}
	clean := path.Clean(p)
	if p[len(p)-1] == '/' && clean != "/" {
		clean += "/"
	}
	return clean
}

func (s *side) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := &seen{
		method: r.Method, path: r.URL.Path, rawQuery: r.URL.RawQuery, proto: r.ProtoMinor,
		header: r.Header.Clone(), host: r.Host, target: r.RequestURI, isOwn: r.Host == "docker",
	}
	body, err := io.ReadAll(r.Body)
	q.body, q.bodyErr = body, err != nil
	s.mu.Lock()
	q.legacy = s.legacy
	s.requests = append(s.requests, q)
	index := len(s.requests) - 1
	s.mu.Unlock()
	answer := func(status int, text string) {
		q.status = status
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, text)
	}
	w.Header().Set("X-Seen", fmt.Sprint(index))
	if r.Method == "PRI" {
		answer(404, `{"message":"page not found"}`)
		return
	}
	if clean := cleanPath(r.URL.Path); clean != r.URL.Path {
		w.Header().Set("Location", (&url.URL{Path: clean, RawQuery: r.URL.RawQuery}).String())
		answer(301, "")
		return
	}
	route := r.URL.Path
	if m := version.FindStringSubmatch(route); m != nil {
		route = m[1]
	}
	q.lacks = s.look(r.Method, route, q)
	switch {
	case q.bodyErr:
		w.Header().Set("Connection", "close")
		answer(400, `{"message":"the body breaks off"}`)
	case q.isOwn:
		s.answerQuestion(route, q, answer)
	case isMissed.MatchString(route):
		answer(404, `{"message":"no such thing"}`)
	case r.Method == "POST" && hijacks.MatchString(route):
		hijacker := w.(http.Hijacker)
		conn, buf, err := hijacker.Hijack()
		if err != nil {
			return
		}
		head := fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Seen: %d\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n", index)
		q.status = 200
		if r.Header.Get("Upgrade") != "" {
			q.status = 101
			head = fmt.Sprintf("HTTP/1.1 101 UPGRADED\r\nX-Seen: %d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", index)
		}
		conn.Write([]byte(head))
		q.tunnel, _ = io.ReadAll(buf)
		conn.Write(append([]byte("echo:"), q.tunnel...))
		conn.Close()
	case r.Method == "POST" && route == "/grpc":
		answer(500, `{"message":"no upgrade proto in request"}`)
	case r.Method == "POST" && strings.HasSuffix(route, "/create"):
		answer(201, `{"Id":"x","Name":"x","Warnings":[]}`)
	default:
		answer(200, `{}`)
	}
}

func (s *side) answerQuestion(route string, q *seen, answer func(int, string)) {
	switch {
	case strings.HasPrefix(route, "/images/volumes/"):
		answer(200, `{"Config":{"Volumes":{"/of/image":{},"/two/":{}}}}`)
	case strings.HasPrefix(route, "/images/"):
		answer(200, `{"Config":{"Volumes":null}}`)
	case route == "/version":
		answer(200, fmt.Sprintf(`{"Version":"x","ApiVersion":%q}`, s.api))
	case strings.HasPrefix(route, "/containers/"):
		// Of --volumes-from, or the one that was just created.
		text, _ := json.Marshal(labels)
		answer(200, fmt.Sprintf(`{"Config":{"Labels":%s},"Mounts":[{"Destination":"/from"}]}`, text))
	case route == "/networks":
		text, _ := json.Marshal([]any{
			map[string]any{"Name": "good", "ConfigOnly": true, "Labels": labels},
			map[string]any{"Name": "bad", "ConfigOnly": true, "Labels": map[string]string{}},
		})
		answer(200, string(text))
	case route == "/swarm":
		answer(200, `{"Spec":{"Labels":{"old":"1"}}}`)
	case route == "/volumes/create":
		answer(201, `{"Name":"x"}`)
	default:
		answer(404, `{"message":"no such thing"}`)
	}
}

type volumeOptions struct {
	NoCopy       bool
	Labels       map[string]string
	DriverConfig *struct{ Name string }
}

type mount struct {
	Type, Source, Target string
	VolumeOptions        *volumeOptions
}

type hostConfig struct {
	Binds, VolumesFrom []string
	NetworkMode        string
	VolumeDriver       string
	Memory             int64
	Tmpfs              map[string]string
	Mounts             []mount
}

type config struct {
	Hostname, Image string
	Env             []string
	Volumes         map[string]struct{}
	Labels          map[string]string
}

// Exported, since encoding/json does not allocate embedded pointers to unexported structs.
type (
	Config     config
	HostConfig hostConfig
	Container  struct {
		*Config
		HostConfig       *hostConfig
		NetworkingConfig *struct {
			EndpointsConfig map[string]*struct{ NetworkID string }
		}
	}
	OldContainer struct {
		*Config
		InnerHostConfig *hostConfig `json:"HostConfig,omitempty"`
		*HostConfig
	}
	Object struct {
		Name, Driver, Scope string
		Labels              map[string]string
		DriverOpts          map[string]string
		ConfigFrom          *struct{ Network string }
		IPAM                *struct {
			Config []struct{ Subnet string }
		}
		Spec         struct{ Labels map[string]string }
		TaskTemplate struct {
			ContainerSpec *struct {
				Image  string
				Labels map[string]string
				Mounts []mount
			}
		}
	}
)

// lack returns the label that is missing or has another value.
func lack(what string, have map[string]string) string {
	for key, value := range labels {
		if got, ok := have[key]; !ok || got != value {
			return fmt.Sprintf("%s without %s", what, key)
		}
	}
	return ""
}

// first decodes the first value of the body, as old daemons do. Newer ones refuse a second value.
func first(body []byte, into any) bool {
	return json.NewDecoder(bytes.NewReader(body)).Decode(into) == nil
}

// look returns what the request would create without labels, or nothing.
func (s *side) look(method, route string, q *seen) string {
	if method != "POST" {
		return ""
	}
	var object Object
	if m := updates.FindStringSubmatch(route); m != nil {
		route = "/" + m[1] + "/create"
	}
	switch route {
	case "/containers/create":
		return s.lookAtContainer(q)
	case "/volumes/create", "/networks/create", "/secrets/create", "/configs/create":
		if !first(q.body, &object) {
			// An empty body creates nothing. `null` creates an object with defaults.
			return ""
		}
		if route == "/networks/create" && object.ConfigFrom != nil && object.ConfigFrom.Network != "" {
			if object.ConfigFrom.Network != "good" {
				return "a network from an unlabelled one"
			}
			return ""
		}
		lacks := lack(route, object.Labels)
		if lacks == "" && route == "/volumes/create" {
			s.mu.Lock()
			s.created[object.Name] = true
			s.mu.Unlock()
		}
		return lacks
	case "/services/create":
		if !first(q.body, &object) {
			return ""
		}
		lacks := lack(route, object.Labels)
		if spec := object.TaskTemplate.ContainerSpec; spec != nil {
			if lacks == "" {
				lacks = lack("the containers of a service", spec.Labels)
			}
			targets := map[string]bool{}
			for _, mount := range spec.Mounts {
				targets[filepath.Clean(mount.Target)] = true
				if strings.EqualFold(mount.Type, "volume") {
					if mount.VolumeOptions == nil {
						lacks = "a volume of a service"
					} else if lacks == "" {
						lacks = lack("a volume of a service", mount.VolumeOptions.Labels)
					}
				}
			}
			if strings.HasPrefix(spec.Image, "volumes/") && !(targets["/of/image"] && targets["/two"]) {
				lacks = "a volume of a service's image"
			}
		}
		return lacks
	case "/swarm/init":
		if !first(q.body, &object) {
			return ""
		}
		return lack(route, object.Spec.Labels)
	case "/swarm/update":
		if !first(q.body, &object) {
			return ""
		}
		return lack(route, object.Labels)
	case "/build", "/commit", "/images/create":
		if kind := q.header.Get("Content-Type"); route == "/commit" && kind != "" {
			// The daemon accepts only JSON, and Podman does not read forms.
			if kind, _, err := mime.ParseMediaType(kind); err != nil || kind != "application/json" {
				return lookAtForm(route, queryOf(q))
			}
		}
		form := formOf(q)
		// Without and with forms, where either the query or the form may win.
		for _, values := range []url.Values{form, queryOf(q)} {
			if lacks := lookAtForm(route, values); lacks != "" {
				return lacks
			}
		}
	}
	return ""
}

// formOf returns what ParseForm and ParseMultipartForm make of a request.
func formOf(q *seen) url.Values {
	r := &http.Request{
		Method: q.method, URL: &url.URL{Path: q.path, RawQuery: q.rawQuery}, Header: q.header,
		Body: io.NopCloser(bytes.NewReader(q.body)),
	}
	r.ParseMultipartForm(1 << 20)
	return r.Form
}

func queryOf(q *seen) url.Values {
	return (&url.URL{RawQuery: q.rawQuery}).Query()
}

func lookAtForm(route string, values url.Values) string {
	switch {
	case route == "/build":
		have := map[string]string{}
		if json.Unmarshal([]byte(values.Get("labels")), &have) != nil {
			return ""
		}
		return lack("an image of a build", have)
	case route == "/images/create" && values.Get("fromImage") != "":
		return ""
	}
	changes := values["changes"]
	if len(changes) < len(changeLines) {
		return route + " without changes"
	}
	ours := changes[len(changes)-len(changeLines):]
	for i, line := range changeLines {
		if ours[i] != line {
			return route + " whose changes end otherwise"
		}
	}
	lines := strings.Split(strings.Join(changes[:len(changes)-len(changeLines)], "\n"), "\n")
	if strings.HasSuffix(strings.TrimRight(lines[len(lines)-1], " \t\r"), `\`) {
		return route + " whose changes go on in ours"
	}
	return ""
}

// containerOf returns the container that the daemon would create, or nil, and its HostConfig.
func containerOf(q *seen) (*Config, *hostConfig) {
	var (
		have *Config
		host *hostConfig
	)
	if q.legacy {
		var body OldContainer
		if !first(q.body, &body) {
			return nil, nil
		}
		have, host = body.Config, body.InnerHostConfig
		if host == nil {
			host = (*hostConfig)(body.HostConfig)
		} else if body.HostConfig != nil && host.VolumeDriver == "" {
			host.VolumeDriver = body.HostConfig.VolumeDriver
		}
	} else {
		var body Container
		if !first(q.body, &body) {
			return nil, nil
		}
		have, host = body.Config, body.HostConfig
	}
	if host == nil {
		host = &hostConfig{}
	}
	return have, host
}

func (s *side) lookAtContainer(q *seen) string {
	have, host := containerOf(q)
	if have == nil {
		return ""
	}
	if lacks := lack("a container", have.Labels); lacks != "" {
		return lacks
	}
	mounted := map[string]bool{}
	for path := range host.Tmpfs {
		mounted[path] = true
	}
	if len(host.VolumesFrom) > 0 {
		mounted["/from"] = true
	}
	for _, mount := range host.Mounts {
		mounted[filepath.Clean(mount.Target)] = true
		if mount.Type == "volume" {
			if mount.VolumeOptions == nil {
				return "a volume of Mounts without labels"
			}
			if lacks := lack("a volume of Mounts", mount.VolumeOptions.Labels); lacks != "" {
				return lacks
			}
		}
	}
	for _, bind := range host.Binds {
		switch parts := strings.Split(bind, ":"); {
		case len(parts) == 1 && strings.HasPrefix(bind, "/") && filepath.Clean(bind) != "/":
			return fmt.Sprintf("the anonymous volume %q of Binds", bind)
		case (len(parts) == 2 || len(parts) == 3) && strings.HasPrefix(parts[1], "/"):
			mounted[filepath.Clean(parts[1])] = true
			s.mu.Lock()
			isCreated := s.created[parts[0]]
			s.mu.Unlock()
			if !strings.HasPrefix(parts[0], "/") && parts[0] != "" && !isCreated {
				return fmt.Sprintf("the volume %q of Binds", bind)
			}
		}
	}
	volumes := have.Volumes
	if strings.HasPrefix(have.Image, "volumes/") {
		volumes = map[string]struct{}{"/of/image": {}, "/two/": {}}
		for path := range have.Volumes {
			volumes[path] = struct{}{}
		}
	}
	for path := range volumes {
		if !mounted[filepath.Clean(path)] {
			return fmt.Sprintf("the anonymous volume %q", path)
		}
	}
	return ""
}
