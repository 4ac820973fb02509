package crdt_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/atolldb/atoll/crdt"
)

// fuzzDecoder checks a decoder: it never panics, refuses with ErrInvalid,
// accepts only what it would encode itself, and allocates in proportion to
// what it is given.
func fuzzDecoder(f *testing.F, kinds ...string) {
	text, err := os.ReadFile("testdata/encodings.txt")
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		_, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
		seed, err := hex.DecodeString(strings.TrimSpace(digits))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 40)) // counts and lengths beyond all bounds
	f.Fuzz(func(t *testing.T, b []byte) {
		given := bytes.Clone(b)
		for _, kind := range kinds {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			again, err := recode(kind, b)
			runtime.ReadMemStats(&after)
			if used, bound := after.TotalAlloc-before.TotalAlloc, uint64(1<<20+200*len(b)); used > bound {
				t.Errorf("%s: %d bytes made it allocate %d", kind, len(b), used)
			}
			if err != nil && !errors.Is(err, crdt.ErrInvalid) {
				t.Errorf("%s: the error is not ErrInvalid: %v", kind, err)
			}
			if err == nil && !bytes.Equal(again, b) {
				t.Errorf("%s: %x is taken for %x", kind, b, again)
			}
			if !bytes.Equal(given, b) {
				t.Errorf("%s: decoding changed its argument", kind)
			}
		}
	})
}

func FuzzDecodeEvent(f *testing.F)   { fuzzDecoder(f, "event") }
func FuzzDecodeEntries(f *testing.F) { fuzzDecoder(f, "presence", "sibling", "contribution") }
func FuzzDecodeHeard(f *testing.F)   { fuzzDecoder(f, "heard") }
func FuzzDecodeVector(f *testing.F)  { fuzzDecoder(f, "vector") }

func FuzzDecodePosition(f *testing.F) { fuzzDecoder(f, "position") }

func FuzzState(f *testing.F) {
	fuzzDecoder(f, "state", "gcounter", "pncounter", "orset", "lwwregister")
}

// TestHugeCounts: a few bytes that promise a lot allocate little.
func TestHugeCounts(t *testing.T) {
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}
	for _, kind := range []string{"event", "presence", "heard", "vector", "state"} {
		for prefix := range 40 {
			b := append(bytes.Repeat([]byte{1}, prefix), huge...)
			var err error
			allocated := testing.AllocsPerRun(1, func() { _, err = recode(kind, b) })
			if err != nil { // nine bytes and a huge seq are a vector
				refused(t, kind, err)
			}
			if allocated > 100 {
				t.Errorf("%s: %x made it allocate %.0f times", kind, b, allocated)
			}
		}
	}
}
