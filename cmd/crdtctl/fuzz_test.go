package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/allocs"
	pb "github.com/atolldb/atoll/proto"
)

// FuzzSession: the file of a session is taken, and is the same after a command
// that has seen nothing, or it is refused in one line, before the command is done,
// and left as it is.
func FuzzSession(f *testing.F) {
	cl := client.New(nil, 8, 0)
	token, err := proto.Marshal(&pb.Token{Shards: 8, Vectors: map[uint32][]byte{3: crdt.VersionVector{1: 5, 9: 1 << 60}.AppendTo(nil)}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(base64.StdEncoding.EncodeToString(token) + "\n"))
	f.Add([]byte(base64.StdEncoding.EncodeToString(cl.Session().Token())))
	f.Add([]byte(base64.StdEncoding.EncodeToString(token[1:])))
	f.Add([]byte("no session\n"))
	f.Add([]byte(" \n"))
	path := filepath.Join(f.TempDir(), "session")
	f.Fuzz(func(t *testing.T, was []byte) {
		if err := os.WriteFile(path, was, 0o600); err != nil {
			t.Fatal(err)
		}
		var seen []byte
		do := func(session *client.Client) error { seen = session.Token(); return nil }
		var err error
		allocs.Check(t, len(was), 1<<20, 400, func() { err = inSession(path, cl, do) })
		is, read := os.ReadFile(path)
		if read != nil {
			t.Fatal(read)
		}
		if err != nil {
			var usage usageError
			if !errors.As(err, &usage) || strings.Contains(err.Error(), "\n") || seen != nil || !bytes.Equal(is, was) {
				t.Errorf("%q is refused with %q, done: %v, and is %q", was, err, seen != nil, is)
			}
			return
		}
		seen = nil
		if err := inSession(path, cl, do); err != nil || seen == nil {
			t.Errorf("%q becomes %q, which is refused: %v", was, is, err)
		}
		if again, _ := os.ReadFile(path); !bytes.Equal(again, is) {
			t.Errorf("%q becomes %q, and that %q", was, is, again)
		}
	})
}
