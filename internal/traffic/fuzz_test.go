package traffic

import (
	"bytes"
	"errors"
	"io"
	"os"
	"runtime"
	"slices"
	"testing"
)

// FuzzLog reads bytes as a log. Plain text gives what its lines give one by
// one; a damaged gzip file ends in an error, and no line takes more memory
// than lines may.
func FuzzLog(f *testing.F) {
	sample, err := os.ReadFile("testdata/access.log")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample)
	f.Add(bytes.ReplaceAll(sample, []byte("\n"), []byte("\r\n")))
	f.Add(zip(f, sample))
	f.Add(zip(f, bytes.Repeat([]byte("x"), 3*MaxLineBytes)))
	f.Fuzz(func(t *testing.T, content []byte) {
		log, err := newLog("fuzzed", io.NopCloser(bytes.NewReader(content)), int64(len(content)))
		if err != nil {
			return
		}
		var got []Hit
		wrong := 0
		var last error
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for hit, err := range log.Hits() {
			if last != nil && !errors.Is(last, ErrSyntax) {
				t.Fatalf("%v is not the last", last)
			}
			if last = err; err != nil {
				wrong++
			} else {
				got = append(got, hit)
			}
			if len(got)+wrong > 10_000 { // a little gzip is a lot of text
				return
			}
		}
		runtime.ReadMemStats(&after)
		read := log.line * MaxLineBytes
		if used := after.TotalAlloc - before.TotalAlloc; used > uint64(1<<20+32*read) {
			t.Errorf("%d lines made it allocate %d", log.line, used)
		}
		if bytes.HasPrefix(content, []byte{0x1f, 0x8b}) {
			return
		}
		var want []Hit
		for text := range bytes.Lines(content) {
			if hit, err := ParseLine(text); err == nil {
				want = append(want, hit)
			} else if len(trimEnding(text)) > 0 {
				wrong--
			}
		}
		if !slices.Equal(got, want) || wrong != 0 {
			t.Errorf("%d hits and %d wrong lines more than line by line, %d hits", len(got), wrong, len(want))
		}
	})
}
