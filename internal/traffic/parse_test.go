package traffic

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// line returns a log line around a request as logged.
func line(request string) string {
	return `192.0.2.7 - - [17/May/2015:10:05:03 +0000] "` + request + `" 200 17 "-" "agent"`
}

func TestParseLine(t *testing.T) {
	morning := time.Date(2015, time.May, 17, 10, 5, 3, 0, time.UTC)
	get := func(client, path string) Hit { return Hit{client, morning, "GET", path} }
	tests := []struct {
		name, line string
		want       Hit
	}{
		{"whole", line("GET /a/b.html HTTP/1.1"), get("192.0.2.7", "/a/b.html")},
		{"LF", line("GET / HTTP/1.1") + "\n", get("192.0.2.7", "/")},
		{"CRLF", line("GET / HTTP/1.1") + "\r\n", get("192.0.2.7", "/")},
		{"CRLF behind a cut", `192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1"` + "\r\n", get("192.0.2.7", "/")},
		{"IPv6", `2001:db8::1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1 "-" "-"`, get("2001:db8::1", "/")},
		{"IPv6 with one group", `::1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1 "-" "-"`, get("::1", "/")},
		{"host name", `crawl-7.example.org - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1 "-" "-"`, get("crawl-7.example.org", "/")},
		{"unknown client", `- - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1 "-" "-"`, get("-", "/")},
		{"zone", `192.0.2.7 - - [17/May/2015:23:05:03 +1300] "GET / HTTP/1.1" 200 1 "-" "-"`, get("192.0.2.7", "/")},
		{"user with spaces", `192.0.2.7 - john q. doe [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1 "-" "-"`, get("192.0.2.7", "/")},
		{"user that looks like a time", `192.0.2.7 - a [17/May/2001:10:05:03 +0000] \"b [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1 "-" "-"`, get("192.0.2.7", "/")},
		{"common format", `192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 2326`, get("192.0.2.7", "/")},
		{"no bytes", `192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 304 - "-" "-"`, get("192.0.2.7", "/")},
		{"no status", `192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" - - "-" "-"`, get("192.0.2.7", "/")},
		{"cut in the agent", `192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1 "-" "Mozil`, get("192.0.2.7", "/")},
		{"cut in the status", `192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 2`, get("192.0.2.7", "/")},
		{"cut behind the request", `192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1"`, get("192.0.2.7", "/")},
		{"escaped quotes", line(`GET /\"a\" HTTP/1.1`), get("192.0.2.7", `/\"a\"`)},
		{"escaped backslash last", line(`GET /a\\`), get("192.0.2.7", `/a\\`)},
		{"query", line("GET /a?b=/c?d HTTP/1.1"), get("192.0.2.7", "/a")},
		{"fragment", line("GET /a#b HTTP/1.1"), get("192.0.2.7", "/a")},
		{"space before the query", line("GET /a ?b HTTP/1.1"), get("192.0.2.7", "/a")},
		{"encoded as logged", line("GET //a%2Fb/%3F HTTP/1.1"), get("192.0.2.7", "//a%2Fb/%3F")},
		{"spaces in the path", line("GET /a b c HTTP/1.1"), get("192.0.2.7", "/a b c")},
		{"spaces around the path", line("GET  /a  HTTP/1.1"), get("192.0.2.7", "/a")},
		{"without version", line("GET /a"), get("192.0.2.7", "/a")},
		{"without target", line("GET HTTP/1.1"), get("192.0.2.7", "-")},
		{"only a query", line("GET ?a HTTP/1.1"), get("192.0.2.7", "-")},
		{"proxy", line("GET http://example.org/a?b HTTP/1.1"), get("192.0.2.7", "/a")},
		{"proxy, no path", line("GET http://example.org?b HTTP/1.1"), get("192.0.2.7", "/")},
		{"not a path", line("GET example.org/a HTTP/1.1"), get("192.0.2.7", "-")},
		{"raw bytes", line("GET /caf\xc3\xa9\x1b[2J HTTP/1.1"), get("192.0.2.7", `/caf\xc3\xa9\x1b[2J`)},
		{"asterisk", line("OPTIONS * HTTP/1.0"), Hit{"192.0.2.7", morning, "OPTIONS", "*"}},
		{"connect", line("CONNECT example.org:443 HTTP/1.1"), Hit{"192.0.2.7", morning, "CONNECT", "-"}},
		{"webdav", line("VERSION-CONTROL /a HTTP/1.1"), Hit{"192.0.2.7", morning, "VERSION-CONTROL", "/a"}},
		{"no request", line("-"), Hit{"192.0.2.7", morning, "-", "-"}},
		{"empty request", line(""), Hit{"192.0.2.7", morning, "-", "-"}},
		{"TLS hello", line(`\x16\x03\x01 \x02`), Hit{"192.0.2.7", morning, "-", "-"}},
		{"other protocol", line("SSH-2.0-Go"), Hit{"192.0.2.7", morning, "-", "-"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseLine([]byte(test.line))
			if err != nil {
				t.Fatalf("ParseLine(%q): %v", test.line, err)
			}
			if got != test.want {
				t.Errorf("ParseLine(%q)\n got %+v\nwant %+v", test.line, got, test.want)
			}
		})
	}
}

func TestParseLineSaysWhatIsWrongAndWhatIsRight(t *testing.T) {
	tests := []struct{ name, line, wrong, right string }{
		{"empty", "", "the line is empty", "want a client"},
		{"space first", " 192.0.2.7 - -", "begins with a space", "client's address first"},
		{"prose", "hello", "no time and request", "[17/May/2015:10:05:03 +0000]"},
		{"json", `{"remote":"192.0.2.7"}`, `the client is "{\"remote\"`, "want an address"},
		{"byte order mark", "\ufeff" + line("GET / HTTP/1.1"), `the client is "\ufeff192`, "want an address"},
		{"huge client", strings.Repeat("a", MaxClientBytes+1) + line("GET / HTTP/1.1"), "the client has 265 bytes", "at most 255"},
		{"vhost_combined", "example.org:80 " + line("GET / HTTP/1.1"), `"example.org:80", with a port`, "as in the format combined"},
		{"no brackets", `192.0.2.7 - - 17/May/2015:10:05:03 +0000 "GET / HTTP/1.1" 200 1`, "no time and request", "then [17/"},
		{"cut in the time", `192.0.2.7 - - [17/May/2015:10:05`, "no time and request", "then [17/"},
		{"no request", `192.0.2.7 - - [17/May/2015:10:05:03 +0000]`, "no time and request", "then [17/"},
		{"day 32", `192.0.2.7 - - [32/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1`, `the time is "32/May`, "such as 17/May"},
		{"month", `192.0.2.7 - - [17/Mai/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1`, `the time is "17/Mai`, "such as 17/May"},
		{"year 0", `192.0.2.7 - - [17/May/0000:10:05:03 +0000] "GET / HTTP/1.1" 200 1`, `the time is "17/May/0000`, "a year from 1 to 9999"},
		{"cut in the request", `192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET /ind`, "no closing quote", "want it whole"},
		{"cut behind a backslash", `192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET /ind\`, "no closing quote", "want it whole"},
		{"closing quote escaped", `192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET /ind\" 200 17`, "no closing quote", "want it whole"},
		{"raw quote", line(`GET /"a" HTTP/1.1`), `"a\" HTTP/1.1\"`, `written \"`},
		{"raw quote and space", line(`GET /" a HTTP/1.1`), `" a HTTP/1.1\"`, `written \"`},
		{"status of two digits", `192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 20 17`, `" 20 17" follows`, "want a status"},
		{"status of four digits", `192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 2000`, `" 2000" follows`, "want a status"},
		{"too long", line("GET /" + strings.Repeat("a", MaxLineBytes) + " HTTP/1.1"), "longer than 65536 bytes", "an entry per line"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			hit, err := ParseLine([]byte(test.line))
			if !errors.Is(err, ErrSyntax) {
				t.Fatalf("got %+v, error %v; want ErrSyntax", hit, err)
			}
			if hit != (Hit{}) {
				t.Errorf("got %+v beside the error, want nothing", hit)
			}
			for _, part := range []string{test.wrong, test.right} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
			if len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes; want a short one", len(err.Error()))
			}
		})
	}
}

func TestLongPathsAreCut(t *testing.T) {
	for _, test := range []struct {
		path string
		want string
	}{
		{"/" + strings.Repeat("a", MaxPathBytes-1), "/" + strings.Repeat("a", MaxPathBytes-1)},
		{"/" + strings.Repeat("a", MaxPathBytes), "/" + strings.Repeat("a", MaxPathBytes-4) + "..."},
		{"/" + strings.Repeat("\xff", 60000), "/" + strings.Repeat(`\xff`, MaxPathBytes/4-1) + "..."},
	} {
		hit, err := ParseLine([]byte(line("GET " + test.path + " HTTP/1.1")))
		if err != nil {
			t.Fatal(err)
		}
		if hit.Path != test.want {
			t.Errorf("path of %d bytes: got %d bytes, ...%q; want %d bytes", len(test.path), len(hit.Path), hit.Path[len(hit.Path)-20:], len(test.want))
		}
	}
}

func TestLongestLine(t *testing.T) {
	whole := line("GET / HTTP/1.1")
	whole = whole[:len(whole)-1] + strings.Repeat("a", MaxLineBytes-len(whole)) + `"`
	if _, err := ParseLine([]byte(whole + "\r\n")); err != nil {
		t.Errorf("line of %d bytes: %v", len(whole), err)
	}
	if _, err := ParseLine([]byte(whole + "a")); !errors.Is(err, ErrSyntax) {
		t.Errorf("line of %d bytes: got %v, want ErrSyntax", len(whole)+1, err)
	}
}

func TestDayIsUTC(t *testing.T) {
	hit, err := ParseLine([]byte(`192.0.2.7 - - [17/May/2015:23:30:00 -0200] "GET / HTTP/1.1" 200 1`))
	if err != nil || hit.Day() != "2015-05-18" {
		t.Errorf("got day %s, error %v; want 2015-05-18", hit.Day(), err)
	}
	hit.Time = hit.Time.In(time.FixedZone("", -7200))
	if hit.Day() != "2015-05-18" {
		t.Errorf("got day %s of %v; want 2015-05-18", hit.Day(), hit.Time)
	}
}

// FuzzParseLine: whatever a line holds, the result is a hit within its bounds
// or ErrSyntax, and the line is left as it was.
func FuzzParseLine(f *testing.F) {
	sample, err := os.ReadFile("testdata/access.log")
	if err != nil {
		f.Fatal(err)
	}
	for l := range strings.Lines(string(sample)) {
		f.Add([]byte(l))
	}
	f.Add([]byte(" [17/May/2015:10:05:03 +0000] \"\\"))
	f.Add([]byte("a:b [\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		before := string(data)
		hit, err := ParseLine(data)
		if string(data) != before {
			t.Fatal("the line was changed")
		}
		if err != nil {
			if !errors.Is(err, ErrSyntax) || hit != (Hit{}) || len(err.Error()) > 2000 {
				t.Fatalf("got %+v and error %v; want a short ErrSyntax alone", hit, err)
			}
			return
		}
		checkBounds(t, hit)
		// What was understood can be written down and understood again.
		again, err := ParseLine([]byte(logLine(hit)))
		if err != nil || again != hit {
			t.Fatalf("%+v, written and read again: %+v, error %v", hit, again, err)
		}
	})
}

// logLine writes a hit as a line of a log.
func logLine(h Hit) string {
	request := h.Method + " " + h.Path + " HTTP/1.1"
	if h.Method == "-" && h.Path == "-" {
		request = "-"
	}
	return h.Client + " - - [" + h.Time.Format(timeLayout) + `] "` + request + `" 200 17 "-" "agent"` + "\n"
}

func checkBounds(t *testing.T, h Hit) {
	t.Helper()
	for _, field := range []struct {
		name, text string
		limit      int
	}{{"client", h.Client, MaxClientBytes}, {"method", h.Method, maxTokenBytes}, {"path", h.Path, MaxPathBytes}} {
		if len(field.text) == 0 || len(field.text) > field.limit {
			t.Errorf("%s of %d bytes, want 1 to %d", field.name, len(field.text), field.limit)
		}
		if strings.ContainsFunc(field.text, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%s %q is not printable", field.name, field.text)
		}
	}
	if h.Time.Location() != time.UTC || h.Time.Nanosecond() != 0 {
		t.Errorf("time %v is not in UTC, to the second", h.Time)
	}
}
