package traffic

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Bounds of what a line may hold.
const (
	// MaxLineBytes bounds a line of a log, its line ending not counted. Web
	// servers cut request lines and headers at 8 KiB each.
	MaxLineBytes = 64 << 10

	// MaxClientBytes bounds a client; a host name has at most 253 bytes.
	MaxClientBytes = 255

	// MaxPathBytes bounds a path. A longer one is cut and ends in "...".
	MaxPathBytes = 2048

	maxTokenBytes = 32
)

// ErrSyntax says that a line is not in the Apache combined log format. The
// lines after it may be.
var ErrSyntax = errors.New("not an access log line in combined format")

// The format of the time between the brackets, 26 bytes always.
const timeLayout = "02/Jan/2006:15:04:05 -0700"

// ParseLine reads one line of a log in the Apache combined format
//
//	client ident user [day/month/year:time zone] "request" status bytes "referer" "agent"
//
// with or without its line ending. Only client, time and request are needed:
// a line that was cut off behind the request, or a log in common format, is as
// good as a whole one. A request that is not HTTP is a hit all the same, with
// the path "-".
//
// Every error wraps ErrSyntax and says what is wrong and what is right. The
// result shares no memory with line.
func ParseLine(line []byte) (Hit, error) {
	line = trimEnding(line)
	if len(line) > MaxLineBytes {
		return Hit{}, tooLong()
	}
	client, rest, err := readClient(line)
	if err != nil {
		return Hit{}, err
	}
	at, rest, err := readTime(rest)
	if err != nil {
		return Hit{}, err
	}
	request, err := readQuoted(rest)
	if err != nil {
		return Hit{}, err
	}
	method, path := splitRequest(request)
	return Hit{Client: client, Time: at, Method: method, Path: path}, nil
}

func trimEnding(line []byte) []byte {
	line = bytes.TrimSuffix(line, []byte{'\n'})
	return bytes.TrimSuffix(line, []byte{'\r'})
}

func wrong(format string, values ...any) error {
	return fmt.Errorf("%w: %s", ErrSyntax, fmt.Sprintf(format, values...))
}

func tooLong() error {
	return wrong("the line is longer than %d bytes; is this a text file with an entry per line?", MaxLineBytes)
}

// readClient returns the first field, and what follows it from its space on.
func readClient(line []byte) (string, []byte, error) {
	if len(line) == 0 {
		return "", nil, wrong("the line is empty; want a client address, a time and a request")
	}
	end := bytes.IndexByte(line, ' ')
	if end < 0 {
		end = len(line)
	}
	client := line[:end]
	switch {
	case len(client) == 0:
		return "", nil, wrong("the line begins with a space; want the client's address first")
	case len(client) > MaxClientBytes:
		return "", nil, wrong("the client has %d bytes; want an address or host name of at most %d", len(client), MaxClientBytes)
	case bytes.ContainsFunc(client, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' }):
		return "", nil, wrong("the client is %q; want an address or host name", client)
	case bytes.Count(client, []byte{':'}) == 1:
		// The first field of the format vhost_combined: counting servers as
		// visitors would be wrong without anybody noticing.
		return "", nil, wrong("the client is %q, with a port; want an address alone, as in the format combined (not vhost_combined)", client)
	}
	return string(client), line[end:], nil
}

// readTime finds the bracketed time, and returns what follows up to and with
// the quote that opens the request. Ident and user in front of it are free
// text that may hold spaces and brackets, but no quote: servers escape it. So
// the first `[time] "` is the real one.
func readTime(rest []byte) (time.Time, []byte, error) {
	const head, tail = ` [`, `] "`
	for at := 0; ; {
		i := bytes.Index(rest[at:], []byte(head))
		if i < 0 {
			return time.Time{}, nil, wrong(`no time and request behind the client; want ident, user, then [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1"`)
		}
		at += i + len(head)
		end := at + len(timeLayout)
		if end > len(rest) || !bytes.HasPrefix(rest[end:], []byte(tail)) {
			continue
		}
		t, err := time.Parse(timeLayout, string(rest[at:end]))
		if err != nil {
			return time.Time{}, nil, wrong("the time is %q; want one such as 17/May/2015:10:05:03 +0000", rest[at:end])
		}
		if t = t.UTC(); t.Year() < 1 || t.Year() > 9999 {
			return time.Time{}, nil, wrong("the time is %q; want a year from 1 to 9999", rest[at:end])
		}
		return t, rest[end+len(tail)-1:], nil
	}
}

// readQuoted returns what stands between the quote that rest begins with and
// the next one that is not escaped, and checks that a status follows, as far
// as the line goes.
func readQuoted(rest []byte) ([]byte, error) {
	for i := 1; i < len(rest); i++ {
		switch rest[i] {
		case '\\':
			i++
		case '"':
			if !startsStatus(rest[i+1:]) {
				return nil, wrong(`%q follows the request; want a status such as 200, and quotes inside a request written \"`, head(rest[i+1:]))
			}
			return rest[1:i], nil
		}
	}
	return nil, wrong("the request has no closing quote; want it whole, only what follows it may be cut off")
}

// startsStatus says whether b is, or is the beginning of, a space and a status
// of three digits or "-", followed by nothing or more fields.
func startsStatus(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if b[0] != ' ' {
		return false
	}
	status, _, more := bytes.Cut(b[1:], []byte{' '})
	if string(status) == "-" {
		return true
	}
	for _, c := range status {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(status) == 3 || len(status) < 3 && !more
}

// head returns as much of b as an error message should show.
func head(b []byte) []byte { return b[:min(len(b), 40)] }

// splitRequest takes a request line apart. It does not fail: servers log
// whatever arrives on the port, and each of those was a hit.
func splitRequest(request []byte) (method, path string) {
	verb, target, found := bytes.Cut(request, []byte{' '})
	if !found || !isToken(verb) {
		return "-", "-"
	}
	// A target with a space in it is not HTTP, but servers take and log it;
	// so the version is what is cut off, not all behind the second word.
	if i := bytes.LastIndexByte(target, ' '); bytes.HasPrefix(target[i+1:], []byte("HTTP/")) {
		target = target[:max(i, 0)]
	}
	return string(verb), printable(pathOf(target))
}

// isToken says whether b is a token as RFC 9110, section 5.6.2, defines it, of
// at most 32 bytes: methods and schemes are.
func isToken(b []byte) bool {
	if len(b) == 0 || len(b) > maxTokenBytes {
		return false
	}
	for _, c := range b {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		digit := c >= '0' && c <= '9'
		if !letter && !digit && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return true
}

// pathOf returns the path of a request target (RFC 9112, section 3.2): the
// usual "/path?query", "http://host/path" as sent to proxies, "*".
func pathOf(target []byte) []byte {
	if i := bytes.IndexAny(target, "?#"); i >= 0 {
		target = target[:i]
	}
	target = bytes.Trim(target, " ")
	if len(target) > 0 && target[0] == '/' || string(target) == "*" {
		return target
	}
	if scheme, rest, found := bytes.Cut(target, []byte("://")); found && isToken(scheme) {
		if i := bytes.IndexByte(rest, '/'); i >= 0 {
			return rest[i:]
		}
		return []byte("/")
	}
	return []byte("-")
}

// printable writes bytes outside printable ASCII as \xhh, as web servers do,
// so that a path can be shown on any terminal; and it bounds the length.
func printable(path []byte) string {
	const hex, more = "0123456789abcdef", "..."
	var text strings.Builder
	text.Grow(min(len(path), MaxPathBytes))
	for _, c := range path {
		if text.Len() > MaxPathBytes {
			break
		}
		if c >= ' ' && c <= '~' {
			text.WriteByte(c)
		} else {
			text.Write([]byte{'\\', 'x', hex[c>>4], hex[c&15]})
		}
	}
	if text.Len() > MaxPathBytes {
		return text.String()[:MaxPathBytes-len(more)] + more
	}
	return text.String()
}
