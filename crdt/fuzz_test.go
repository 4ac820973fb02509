package crdt_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
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

func FuzzDecodeEvent(f *testing.F) { fuzzDecoder(f, "event") }
func FuzzDecodeEntries(f *testing.F) {
	fuzzDecoder(f, "presence", "sibling", "contribution", "corrected", "record")
}
func FuzzDecodeHeard(f *testing.F)  { fuzzDecoder(f, "heard") }
func FuzzDecodeVector(f *testing.F) { fuzzDecoder(f, "vector") }

func FuzzDecodePosition(f *testing.F) { fuzzDecoder(f, "position") }

func FuzzState(f *testing.F) {
	fuzzDecoder(f, "state", "gcounter", "pncounter", "orset", "lwwregister")
}

// TestDamagedEncodings damages every byte of every sample in a few ways. What
// is not refused must be what something else encodes to.
func TestDamagedEncodings(t *testing.T) {
	for line := range strings.Lines(string(must(os.ReadFile("testdata/encodings.txt")))) {
		kind, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
		good := must(hex.DecodeString(strings.TrimSpace(digits)))
		for i, b := range good {
			instead := [][]byte{{}, {b, b}, {0, b}, {0xff, b}, {b | 0x80, 0}} // the last is the same integer, longer
			for bit := range 8 {
				instead = append(instead, []byte{b ^ 1<<bit})
			}
			for _, middle := range instead {
				damaged := slices.Concat(good[:i], middle, good[i+1:])
				again, err := recode(kind, damaged)
				switch {
				case err == nil && !bytes.Equal(again, damaged):
					t.Errorf("%s: %x is taken for %x", kind, damaged, again)
				case err != nil:
					refused(t, kind, err)
				}
			}
		}
	}
}

// TestCutEncodings cuts every sample short at every byte: no encoding is the
// beginning of another.
func TestCutEncodings(t *testing.T) {
	for line := range strings.Lines(string(must(os.ReadFile("testdata/encodings.txt")))) {
		kind, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
		good := must(hex.DecodeString(strings.TrimSpace(digits)))
		for n := range good {
			_, err := recode(kind, good[:n])
			refused(t, fmt.Sprintf("%s, the first %d of %d bytes", kind, n, len(good)), err)
		}
	}
}

// TestHugeCounts: a few bytes that promise a lot allocate little.
func TestHugeCounts(t *testing.T) {
	for _, kind := range []string{"event", "presence", "heard", "vector", "state"} {
		for _, count := range []uint64{1 << 14, 1 << 20, 1 << 27, math.MaxUint64} {
			for prefix := range 40 {
				b := bytes.Repeat([]byte{1}, prefix)
				if kind == "state" && prefix > 0 {
					b[0] = 2 // its version
				}
				b = binary.AppendUvarint(b, count)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				_, err := recode(kind, b)
				runtime.ReadMemStats(&after)
				if err != nil { // nine bytes and a large seq are a vector
					refused(t, kind, err)
				}
				if used := after.TotalAlloc - before.TotalAlloc; used > 64<<10 {
					t.Errorf("%s: %x made it allocate %d bytes", kind, b, used)
				}
			}
		}
	}
}
