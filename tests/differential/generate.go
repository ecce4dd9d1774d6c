// Random requests: mostly well-formed creates with oddities of all kinds, and now and then wrong
// bytes in any place.

package main

import (
	"bytes"
	"fmt"
	"math/rand"
	"slices"
	"strings"
)

type generator struct{ *rand.Rand }

func (g generator) chance(percent int) bool { return g.Intn(100) < percent }

func pick[T any](g generator, list ...T) T { return list[g.Intn(len(list))] }

// tokens are what mutations insert anywhere.
var tokens = []string{
	"\r\n", "\n", "\r", "\x00", " ", "\t", "\r\n ", "\r\n\r\n", "\n\n", ":", ",", ";", "%2F", "%", "%00", "//", "..", "/./",
	"0\r\n\r\n", "\r\nContent-Length: 5", "\r\nContent-Length: 0", "\r\nTransfer-Encoding: chunked", "\r\nHost: x",
	"\r\nExpect: 100-continue", "\r\nConnection: close", "HTTP/1.1", "HTTP/1.0", "?", "&", "#", "+", "\xff", "\xc5\xbf", "\xe2\x84\xaa",
	"null", `"Labels":null,`, `"labels":{},`, `\u0000`, `\ud800`, "{", "}", "[", "]", `"`, `\`, "0", "1e999", "-", "\ufeff",
	"POST /volumes/create HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n",
}

func generate(random *rand.Rand) input {
	g := generator{random}
	var all []byte
	for n := 1 + g.Intn(4); n > 0; n-- {
		all = append(all, g.request()...)
	}
	in := input{bytes: all, legacy: g.chance(50)}
	for n := g.Intn(5) - 3; n > 0; n-- {
		in.bytes = g.mutate(in.bytes)
	}
	if g.chance(10) && len(in.bytes) > 0 {
		for n := 1 + g.Intn(3); n > 0; n-- {
			in.cuts = append(in.cuts, g.Intn(len(in.bytes)))
		}
		slices.Sort(in.cuts)
	}
	in.isLate = g.chance(5)
	return in
}

func (g generator) mutate(text []byte) []byte {
	if len(text) == 0 {
		return text
	}
	at := g.Intn(len(text) + 1)
	size := min(1+g.Intn(1<<g.Intn(6)), len(text)-at)
	before, middle, after := text[:at], text[at:at+size], text[at+size:]
	switch g.Intn(6) {
	case 0:
		return slices.Concat(before, after)
	case 1:
		return slices.Concat(before, []byte(tokens[g.Intn(len(tokens))]), middle, after)
	case 2:
		return slices.Concat(before, []byte(tokens[g.Intn(len(tokens))]), after)
	case 3:
		return slices.Concat(before, middle, middle, after)
	case 4:
		return slices.Concat(before, []byte{byte(g.Intn(256))}, middle, after)
	default:
		return bytes.Clone(before)
	}
}

// routes are endpoints without a version. Creates are repeated to be picked more often.
var routes = []string{
	"/containers/create", "/containers/create", "/containers/create", "/containers/create", "/volumes/create", "/volumes/create",
	"/networks/create", "/networks/create", "/secrets/create", "/configs/create", "/services/create", "/services/x/update", "/secrets/x/update", "/configs/x/update",
	"/swarm/init", "/swarm/update", "/build", "/build", "/commit", "/commit", "/images/create", "/images/create",
	"/containers/x/start", "/containers/x/attach", "/containers/no/attach", "/exec/x/start", "/session", "/grpc", "/_ping",
	"/containers/x/archive", "/images/load", "/containers/json", "/what/ever",
}

func (g generator) request() []byte {
	route := routes[g.Intn(len(routes))]
	method := "POST"
	if g.chance(5) {
		method = pick(g, "GET", "PUT", "HEAD", "DELETE", "post", "OPTIONS", "PATCH", "X-ANY", "PRI")
	} else if route == "/_ping" || route == "/containers/json" {
		method = pick(g, "GET", "HEAD")
	}
	isQuery := route == "/build" || route == "/commit" || route == "/images/create"
	body := []byte(nil)
	kind := ""
	switch {
	case isQuery && g.chance(40):
		body, kind = g.form(route)
	case isQuery || strings.HasSuffix(route, "archive"), strings.HasSuffix(route, "load"):
		body, kind = g.archive(), pick(g, "application/x-tar", "application/x-tar", "", "application/tar")
	case strings.HasSuffix(route, "/create"), strings.HasSuffix(route, "/update"), strings.HasSuffix(route, "/init"):
		body, kind = []byte(g.json(route)), "application/json"
		if g.chance(5) {
			kind = pick(g, "", "text/plain", "application/json; charset=utf-8", "application/x-www-form-urlencoded", "application/json;", "a;b")
		}
	case g.chance(30):
		body, kind = g.archive(), "application/json"
	}
	query := ""
	if isQuery || g.chance(20) {
		query = g.query(route)
	}
	head := method + pick1(g, 2, " ", "  ", "\t", "") + g.target(route, query) + pick1(g, 2, " ", "  ", "") + pick1(g, 6, "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1.10", "")
	lines := []string{head, "Host: " + pick1(g, 4, "d", "", "d:80", "/var/run/docker.sock", "a b", "d\xff", "é", "d/x", "d@e")}
	if kind != "" {
		lines = append(lines, "Content-Type: "+kind)
	}
	for g.chance(25) {
		lines = append(lines, g.line())
	}
	framing, sent := g.frame(body)
	lines = append(lines, framing...)
	if g.chance(10) {
		rest := lines[1:]
		g.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	}
	var all []byte
	for _, line := range append(lines, "") {
		all = append(all, line...)
		all = append(all, pick1(g, 0, "\r\n")...)
		if g.Intn(500) == 0 {
			all = append(all[:len(all)-2], pick(g, "\n", "\r", "\r\r\n", "\r\n ", " \r\n")...)
		}
	}
	return append(all, sent...)
}

// pick1 returns the first, or one of the others in so many percent of the cases.
func pick1(g generator, percent int, first string, others ...string) string {
	if len(others) > 0 && g.chance(percent) {
		return others[g.Intn(len(others))]
	}
	return first
}

func (g generator) target(route, query string) string {
	prefix := pick(g, "", "/v1.41", "/v1.41", "/v1.45", "/v1.47", "/v1.23", "/v01.041", "/v...", "/v1", "/v5.0.0-rc1", "/v%31.41")
	path := prefix + route
	for g.chance(8) {
		at := g.Intn(len(path))
		switch g.Intn(7) {
		case 0:
			path = path[:at] + fmt.Sprintf(pick(g, "%%%02x", "%%%02X"), path[at]) + path[at+1:]
		case 1:
			path = path[:at] + pick(g, "//", "/./", "/../", "%2f", "%2F", "%2e", ";", "%3b", "%00", "%0a", "%", "%zz", "%0d%0a", "%0D%0AX:", "%20HTTP/1.1%0d%0aHost:d%0d%0a%0d%0a", "%3f", "%3Fx=", "%23", "%25", "%ff", "%c5%bf", "\\", "^", "é", "{", "|", "'", "*", "[") + path[at:]
		case 2:
			path = strings.Replace(path, "/", "%2F", 1+g.Intn(3))
		case 3:
			path += pick(g, "/", "/.", "/..", "%20", ";x", "%2f")
		case 4:
			path = pick(g, "http://h", "HTTP://x:80", "x:", "x://", "x:///", "http://u:p@h", "http:", "//h", "unix://", "1x://h", "http://[::1]", "http://[", "http://h%zz", "x://a b", "http://h\\") + path
		case 5:
			path = strings.ToUpper(path[:at]) + path[at:]
		default:
			path = pick(g, "*", "", "/", "h:80", "http://h", "x", "?", "#", "http://h?", "x:") + pick(g, "", path)
		}
		if len(path) == 0 {
			break
		}
	}
	if query != "" || g.chance(3) {
		path += "?" + query
	}
	return path + pick1(g, 1, "", "#f", "?", "#")
}

func (g generator) line() string {
	return pick(g,
		"User-Agent: x", "X-A: 1", "x-a: 2", "X-A:  spaced\t ", "X-Empty:", "Connection: close", "Connection: keep-alive", "Connection: Upgrade",
		"Connection: content-length", "Connection: content-type, x-a", "Connection: transfer-encoding, host", "Upgrade: tcp", "Upgrade: h2c", "Connection: Upgrade, close",
		"Expect: 100-continue", "Expect: 100-Continue", "Expect: x", "Expect:", "Trailer: X-T", "TE: trailers", "Host: d", "Content-Length: 3",
		"Content-Length: 0", "Transfer-Encoding: chunked", "Transfer-Encoding: identity", "Keep-Alive: 5", "Proxy-Connection: close", "X-Bad Name: x", "X-Bad : x", ": x", "X\x00: y",
		"X: \x00", "X: \x01", "X: \x7f", "X: \x80\xff", "X-Método: y", "X-Fold: a\r\n b", "X-Tab: a\r\n\tb", "X-No-Colon", "Content-Type: application/json", "Content-Encoding: gzip",
		"X-HTTP-Method-Override: GET", "Cookie: a=b; c", "X_Under: y", "X: a\rb", "Sec-WebSocket-Key: x", "HTTP2-Settings: x", "Content-length : 4", "Pragma: no-cache", "Date: x")
}

// frame returns the header lines that frame the body, and the body as it is sent.
func (g generator) frame(body []byte) ([]string, []byte) {
	size := len(body)
	switch n := g.Intn(100); {
	case n < 55:
		return []string{fmt.Sprintf("Content-Length: %d", size)}, body
	case n < 85:
		return []string{"Transfer-Encoding: " + pick1(g, 5, "chunked", "Chunked", "CHUNKED", " chunked ", "\x0bchunked", "chunked;q=1")}, g.chunks(body)
	case n < 88:
		return []string{fmt.Sprintf("Content-Length: %s%d", pick(g, "0", "+", " ", "0x", "-", "00000", "1_", "0,"), size)}, body
	case n < 91:
		return []string{fmt.Sprintf("Content-Length: %d%s", size, pick(g, " ", ",", fmt.Sprintf(", %d", size), ".0", "e0", "\t", ";", "\x0b", "9999999999999999999"))}, body
	case n < 93:
		return []string{fmt.Sprintf("Content-Length: %d", max(0, size+g.Intn(21)-10))}, body
	case n < 95:
		return []string{fmt.Sprintf("Content-Length: %d", size), fmt.Sprintf("Content-Length: %d", size+g.Intn(2))}, body
	case n < 97:
		return []string{"Transfer-Encoding: chunked", fmt.Sprintf("Content-Length: %d", size)}, g.chunks(body)
	case n < 98:
		return []string{"Transfer-Encoding: " + pick(g, "gzip, chunked", "chunked, identity", "identity", "", "chunked, chunked", "x")}, g.chunks(body)
	default:
		return nil, body
	}
}

func (g generator) chunks(body []byte) []byte {
	var all []byte
	for len(body) > 0 {
		n := 1 + g.Intn(len(body))
		if n < len(body) && g.chance(50) {
			n = len(body)
		}
		size := fmt.Sprintf(pick1(g, 10, "%x", "%X", "0%x", "00000000000%x", "%x0"), n)
		size += pick1(g, 5, "", ";a", ";a=b", "; a=\"b\"", " ", "\t", " ;x", ";a\tb", ";\x80", ";a=\"\r\n\"", "\x00", "g", "h ")
		all = append(all, pick1(g, 2, "", "0x", "+", "-", " ", "\r\n")+size+pick1(g, 2, "\r\n", "\n", "\r", "\r\r\n")...)
		all = append(all, body[:n]...)
		all = append(all, pick1(g, 2, "\r\n", "\n", "", "\r", "x\r\n", "\r\n\r\n")...)
		body = body[n:]
	}
	all = append(all, pick1(g, 5, "0", "00", "0;x", "0000000000000000", "00000000000000000", "")+pick1(g, 2, "\r\n", "\n")...)
	for g.chance(8) {
		all = append(all, pick(g, "X-T: 1", "Content-Length: 5", "Transfer-Encoding: x", "bad", " folded", "X : y", "Host: e", "X: \x01", ":")+pick1(g, 3, "\r\n", "\n")...)
	}
	return append(all, pick1(g, 2, "\r\n", "\n", "")...)
}

func (g generator) archive() []byte {
	return []byte(pick(g, "", "x", "tar tar tar", "labels={}&changes=x", "POST /volumes/create HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n", strings.Repeat("0123456789", 700), strings.Repeat("x", 70000)))
}

func (g generator) form(route string) ([]byte, string) {
	if g.chance(30) {
		var text strings.Builder
		for n := g.Intn(4); n > 0; n-- {
			fmt.Fprintf(&text, "--B\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n", pick(g, "labels", "changes", "fromImage", "fromSrc", "x"), pick(g, "{}", "", "x", "LABEL a=b"))
		}
		return []byte(text.String() + "--B--\r\n"), pick(g, "multipart/form-data; boundary=B", "multipart/form-data;boundary=\"B\"", "multipart/mixed; boundary=B")
	}
	return []byte(g.query(route)), pick(g, "application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=x", "APPLICATION/X-WWW-FORM-URLENCODED", " application/x-www-form-urlencoded ;a")
}

func (g generator) query(route string) string {
	var pairs []string
	for n := g.Intn(5); n > 0; n-- {
		name := pick(g, "labels", "t", "q", "changes", "fromImage", "fromSrc", "repo", "name", "rm", "version", "comment", "outputs", "platform", "labels", "changes")
		value := pick(g, "", "x", "1", "{}", `{"a":"b"}`, `{"ci.job":"no"}`, "null", `{"a":null}`, `["a=b"]`, "{", "LABEL a=b", `LABEL a=b \`, "CMD x \\", "ENV a <<b", "ONBUILD RUN <<EOF", "# escape=`", "LABEL ci.job=no", "-", "a\nb", "a\\\n", "busybox")
		if g.chance(80) {
			value = escape(g, value)
		}
		if g.chance(10) {
			at := g.Intn(len(name))
			name = pick(g, name[:at]+fmt.Sprintf("%%%02x", name[at])+name[at+1:], strings.ToUpper(name), name+"%", name+"+", "label\u017f", "label%C5%BF", name+"%00", name+";")
		}
		pairs = append(pairs, name+pick1(g, 4, "=", "", "==", "%3d", "=;")+value)
	}
	text := strings.Join(pairs, pick1(g, 4, "&", ";", "&&", "&;&", "%26"))
	return text + pick1(g, 3, "", "&", "&%zz=1", "&=x", "&labels", "?labels={}", "#x", "&é=1", "\"", "<>", "[]")
}

func escape(g generator, text string) string {
	var out strings.Builder
	for _, b := range []byte(text) {
		switch {
		case b == ' ' && g.chance(50):
			out.WriteByte('+')
		case b >= 'a' && b <= 'z' && !g.chance(3), b >= '0' && b <= '9':
			out.WriteByte(b)
		default:
			fmt.Fprintf(&out, "%%%02X", b)
		}
	}
	return out.String()
}

// json returns the body of a create, odd in all ways that encoding/json accepts, and in some that
// it refuses.
func (g generator) json(route string) string {
	if g.chance(4) {
		return pick(g, "", "null", " ", "[]", "{}", `""`, "1", "true", "{}{}", "\ufeff{}", "{} x", "{}}", "{},", "nullnull", "{}\x00", strings.Repeat("[", 9000), strings.Repeat(`{"a":`, 10050)+"1"+strings.Repeat("}", 10050))
	}
	text := g.object(func() string {
		switch route {
		case "/containers/create":
			return pick(g, "Labels", "Labels", "HostConfig", "HostConfig", "Volumes", "Image", "Env", "Hostname", "Binds", "Mounts", "VolumeDriver", "NetworkingConfig", "VolumesFrom", "Tmpfs", "Memory", "Unknown")
		case "/networks/create":
			return pick(g, "Labels", "Name", "Driver", "ConfigFrom", "Scope", "IPAM", "Unknown")
		case "/volumes/create":
			return pick(g, "Labels", "Labels", "Name", "Driver", "DriverOpts", "Unknown")
		case "/swarm/init":
			return pick(g, "Spec", "Spec", "Labels", "Unknown")
		case "/services/create", "/services/x/update":
			return pick(g, "Labels", "Name", "TaskTemplate", "TaskTemplate", "Unknown")
		}
		return pick(g, "Labels", "Labels", "Name", "Data", "Unknown")
	}, 0)
	return text + pick1(g, 3, "", " ", "\n", "{}", "}", "]", "x", "\x00", "null", ",")
}

func (g generator) object(name func() string, depth int) string {
	var members []string
	for n := g.Intn(5); n > 0; n-- {
		field := name()
		members = append(members, g.key(field)+pick1(g, 3, ":", " : ", ":\n", "")+g.value(field, depth+1))
	}
	return pick1(g, 2, "{", " {\t", "") + strings.Join(members, pick1(g, 2, ",", " , ", ",,", "")) + pick1(g, 2, "}", "}\r\n", ",}", "")
}

func (g generator) key(field string) string {
	if field == "" {
		return `""`
	}
	at := g.Intn(len(field))
	switch g.Intn(16) {
	case 0:
		field = strings.ToLower(field)
	case 1:
		field = strings.ToUpper(field)
	case 2:
		field = strings.NewReplacer("s", "\u017f", "k", "\u212a", "S", "\u017f", "K", "\u212a").Replace(field)
	case 3:
		field = strings.NewReplacer("s", `\u017F`, "k", `\u212a`, "S", `\u017f`).Replace(field)
	case 4:
		field = field[:at] + fmt.Sprintf(`\u%04x`, field[at]) + field[at+1:]
	case 5:
		// Libraries other than Go's fold it.
		field = strings.NewReplacer("i", "\u0130", "I", "\u0130").Replace(field)
	case 6:
		field += `\ud800`
	case 7:
		if g.chance(30) {
			field += pick(g, `\ud800`, "\xff", `\u0000`, " ", `\"`, `\/`, `\x`, "\x01", `\ud83d\udc33`, "é")
		}
	}
	return `"` + field + `"`
}

// value returns a value that mostly has the type of the field.
func (g generator) value(field string, depth int) string {
	if g.chance(6) {
		return pick(g, "null", "null", "{}", "[]", `""`, "0", "true", `"x"`, "[null]", "[{}]", "1e400", "12345678901234567890123", "-0.0e+1", `{"a":[{"b":null}]}`, "nul", "01", "'x'", "NaN", `"\ud800"`)
	}
	list := func(item func() string) string {
		var items []string
		for n := g.Intn(4); n > 0; n-- {
			items = append(items, pick1(g, 4, item(), "null"))
		}
		return "[" + strings.Join(items, ",") + "]"
	}
	switch field {
	case "Labels", "DriverOpts", "Options":
		var members []string
		for n := g.Intn(4); n > 0; n-- {
			key := pick(g, "a", "ci.job", "note", `ci\u002ejob`, "CI.JOB", "ci.job=1", `x\ud800`, "x\xff", "note\\u0000", "", "com.docker.volume.anonymous", "ſ")
			members = append(members, `"`+key+`":`+pick1(g, 8, `"b"`, "null", `"\ud800"`, "\"\xff\"", "1", "{}", `"\u0022"`, `"é"`, "[]", `"a\nb"`))
		}
		return "{" + strings.Join(members, ",") + "}"
	case "HostConfig":
		return g.object(func() string {
			return pick(g, "Binds", "Binds", "Mounts", "Mounts", "Tmpfs", "VolumesFrom", "VolumeDriver", "Memory", "NetworkMode", "Labels")
		}, depth)
	case "Volumes":
		var members []string
		for n := g.Intn(3); n > 0; n-- {
			members = append(members, g.path()+":"+pick1(g, 5, "{}", "null", `{"a":1}`, "[]"))
		}
		return "{" + strings.Join(members, ",") + "}"
	case "Tmpfs":
		return "{" + g.path() + `:"size=1m"}`
	case "Binds":
		return list(func() string {
			path := g.path()
			inner := path[1 : len(path)-1]
			return pick(g, path, `"vol:`+inner+`"`, `"vol:`+inner+`:ro"`, `"/host:`+inner+`"`, `":`+inner+`"`, `"v\u006fl:`+inner+`"`, `"x\ud800:`+inner+`"`, `"a:b:c:d"`, `"rel"`)
		})
	case "Mounts":
		return list(func() string {
			return g.object(func() string {
				return pick(g, "Type", "Type", "Source", "Target", "Target", "VolumeOptions", "ReadOnly")
			}, depth)
		})
	case "Type":
		return pick(g, `"volume"`, `"volume"`, `"volume"`, `"bind"`, `"Volume"`, `"tmpfs"`, `"v\u006flume"`, `""`)
	case "Target":
		return g.path()
	case "VolumeOptions":
		return g.object(func() string { return pick(g, "Labels", "Labels", "NoCopy", "DriverConfig") }, depth)
	case "DriverConfig":
		return g.object(func() string { return pick(g, "Name", "Options") }, depth)
	case "NoCopy", "ReadOnly":
		return pick(g, "true", "false")
	case "VolumesFrom":
		return pick(g, `["x"]`, `["x:ro"]`, `["no"]`, "[]", `["../x"]`)
	case "Image":
		return pick(g, `"busybox"`, `"busybox"`, `"volumes/x"`, `"volumes\/x"`, `"no"`, `""`, `"../x"`, `"a b"`)
	case "Env":
		return `["A=b","é"]`
	case "Memory":
		return pick(g, "1", "9007199254740993", "-1", "1e3")
	case "Driver":
		return pick(g, `"bridge"`, `"local"`, `"overlay"`, `""`)
	case "Scope":
		return pick(g, `"local"`, `"swarm"`, `""`, `"Local"`)
	case "ConfigFrom":
		return g.object(func() string { return "Network" }, depth)
	case "Network":
		return pick(g, `"good"`, `"bad"`, `""`, `"none"`, `"g\u006fod"`)
	case "Spec":
		return g.object(func() string { return pick(g, "Labels", "Labels", "Name") }, depth)
	case "TaskTemplate":
		return g.object(func() string { return pick(g, "ContainerSpec", "ContainerSpec", "Unknown") }, depth)
	case "ContainerSpec":
		return g.object(func() string { return pick(g, "Labels", "Image", "Mounts", "Mounts", "Env") }, depth)
	case "IPAM":
		return `{"Config":[{"Subnet":"10.0.0.0/24"}]}`
	case "NetworkingConfig":
		return `{"EndpointsConfig":{"x":{"NetworkID":"y"}}}`
	}
	return pick(g, `"x"`, `"é"`, `"\u0041"`, `"\ud800"`, "\"\xff\"", `"a\/b"`, `"\ud83d\udc33"`)
}

func (g generator) path() string {
	return `"` + pick(g, "/a", "/a", "/a/", "/b", "//a", "/a/../b", "/of/image", "/of/./image", "/two", "/from", "a", "", "/", "/\\u0061", "/a\\ud800", "/a\xff", "/é", "/a b", "/x\\u0000", "/a:b", "..", "/..", "/a\\\\b", "/a/.") + `"`
}
