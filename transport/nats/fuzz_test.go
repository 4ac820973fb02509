package nats

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"github.com/atolldb/atoll/internal/allocs"
)

// FuzzFiles puts bytes into each file that says how to log in at servers of
// somebody else. What is taken can be used to connect, and what is not is refused
// in one line that names the file and tells nothing of a seed in it.
func FuzzFiles(f *testing.F) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		f.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		f.Fatal(err)
	}
	decorated := "-----BEGIN NATS USER JWT-----\nabc.def.ghi\n------END NATS USER JWT------\n" +
		"-----BEGIN USER NKEY SEED-----\n" + string(seed) + "\n------END USER NKEY SEED------\n"
	for kind, text := range []string{decorated, string(seed), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "-----BEGIN X\r Y-----\nAAAA\n-----END X\r Y-----\n"} {
		f.Add(uint8(kind), []byte(text))
		f.Add(uint8(kind), []byte(text[:len(text)/2]))
		f.Add(uint8(kind+1), []byte(text))
	}
	path := filepath.Join(f.TempDir(), "file")
	f.Fuzz(func(t *testing.T, kind uint8, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		o := AttachOptions{Region: "eu", Name: "eu-1", Servers: []string{"127.0.0.1:4222"}}
		switch kind % 4 {
		case 0:
			o.Credentials = path
		case 1:
			o.Nkey = path
		case 2:
			o.CA = path
		default:
			o.Certificate, o.Key = path, path
		}
		var err error
		allocs.Check(t, len(text), 1<<20, 400, func() { err = CheckAttach(o) })
		if err == nil {
			return
		}
		if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), path) {
			t.Errorf("the error is not one line that names the file: %q", err)
		}
		for word := range strings.FieldsSeq(string(text)) {
			if len(word) > 40 && strings.Contains(err.Error(), word) {
				t.Errorf("the error tells what is in the file: %v", err)
			}
		}
	})
}

// FuzzDenial: whatever a peer has put into what the server says of it, the log
// says it in one line that is not long.
func FuzzDenial(f *testing.F) {
	f.Add(false, "10.0.0.9:50000 - cid:7 - authentication error")
	f.Add(false, "[::1]:50000 - rid:7 - \"a\nb\" - TLS route handshake error: EOF")
	f.Add(true, "10.0.0.9:50000 - cid:7 - invalid character")
	f.Add(true, "x:1 - gid:1 - Violation \x00\x1b[31m")
	f.Fuzz(func(t *testing.T, serious bool, text string) {
		level := slog.LevelWarn
		if serious {
			level = slog.LevelError
		}
		host, what, is := denial(level, text)
		if !is && host+what != "" || len(what) > 1000 || strings.ContainsAny(what, "\n\x1b") || !strings.Contains(text, host) {
			t.Errorf("%q is of %q, %q, %v", text, host, what, is)
		}
	})
}
