package transfer_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/internal/transfer"
)

// read returns the lines of a file, and what ended them.
func read(r io.Reader) (lines []transfer.Line, number int, err error) {
	in := transfer.NewReader(r)
	for {
		l, err := in.Next()
		if err == io.EOF {
			return lines, in.Number(), nil
		}
		if err != nil {
			return lines, in.Number(), err
		}
		lines = append(lines, l)
	}
}

func written(t testing.TB, lines []transfer.Line) string {
	t.Helper()
	var b bytes.Buffer
	w, err := transfer.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		if err := w.Write(l); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := w.Finish(); n != len(lines) || err != nil {
		t.Fatal(n, err)
	}
	return b.String()
}

// odd are texts that an encoding could take for others.
var odd = []string{"", "a", "\x00", "\xff", "\xed\xa0\x80", "\ufffd", "é", "\u2028", "<&>", `\ud800`, "\"\\\n\r\t", "\U0001f600", strings.Repeat("\x01", crdt.MaxElementBytes)}

func random(r *rand.Rand) transfer.Line {
	l := transfer.Line{Key: "k" + odd[r.IntN(len(odd)-1)], Type: crdt.Types[r.IntN(3)]}
	switch l.Type {
	case crdt.TypeCounter:
		l.Counter = []int64{0, -1, 1<<53 + 1, math.MaxInt64, math.MinInt64}[r.IntN(5)]
	case crdt.TypeSet:
		for range 1 + r.IntN(3) {
			l.Elements = append(l.Elements, odd[r.IntN(len(odd))])
		}
	default:
		for range 1 + r.IntN(3) {
			l.Values = append(l.Values, []byte(odd[r.IntN(len(odd))]))
		}
	}
	return l
}

// TestRoundTrip: what was written is read, and written again it is the same.
func TestRoundTrip(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	lines := []transfer.Line{{Key: "v", Type: crdt.TypeRegister, Values: [][]byte{bytes.Repeat([]byte{1}, crdt.MaxValueBytes), bytes.Repeat([]byte{0xff}, crdt.MaxValueBytes)}}}
	for range 300 {
		lines = append(lines, random(r))
	}
	file := written(t, lines)
	got, _, err := read(strings.NewReader(file))
	if err != nil || len(got) != len(lines) {
		t.Fatalf("%d lines of %d, %v", len(got), len(lines), err)
	}
	for i := range lines {
		if text, want := text(got[i]), text(lines[i]); text != want {
			t.Errorf("line %d: %.200s, want %.200s", i, text, want)
		}
	}
	if again := written(t, got); again != file {
		t.Error("written again it is another file")
	}
}

// text returns a line in one way: a set has no order.
func text(l transfer.Line) string {
	return fmt.Sprintf("%q %v %d %q %q", l.Key, l.Type, l.Counter, slices.Sorted(slices.Values(l.Elements)), l.Values)
}

// TestByHand: what other programs write is read without the first and the last line.
func TestByHand(t *testing.T) {
	lines, _, err := read(strings.NewReader(`{"type": "counter", "key": "n", "value": -5}` + "\r\n\n" +
		`{"key_base64":"/w==","type":"register","value_base64":"","siblings":[{"value":"b"}]}` + "\n" +
		` {"key":"s","type":"set","elements":["\ud83d\ude00"],"elements_base64":["YQ=="]}`))
	want := []transfer.Line{
		{Key: "n", Type: crdt.TypeCounter, Counter: -5},
		{Key: "\xff", Type: crdt.TypeRegister, Values: [][]byte{{}, []byte("b")}},
		{Key: "s", Type: crdt.TypeSet, Elements: []string{"\U0001f600", "a"}},
	}
	if err != nil || !reflect.DeepEqual(lines, want) {
		t.Errorf("%+v, %v", lines, err)
	}
}

// TestRefused: a line that is not as it should be is refused, by its number and with
// what is wrong; those before it were read.
func TestRefused(t *testing.T) {
	const good = `{"key":"n","type":"counter","value":"1"}`
	for text, line := range map[string]string{
		"it is not UTF-8":                          `{"key":"` + "\xff" + `","type":"counter","value":"1"}`,
		"it has half a character":                  `{"key":"\ud800","type":"counter","value":"1"}`,
		"it does not begin like a JSON object":     `["key"]`,
		"it is cut in the middle":                  good[:20],
		"it is no JSON":                            `{"key":"n" "type"}`,
		"there is something after its JSON object": good + good,
		`it has "key" twice`:                       `{"key":"n","key":"n","type":"counter","value":"1"}`,
		`it has "Value", which is not to be there`: `{"key":"n","type":"counter","value":"1","Value":"2"}`,
		`it takes "key" or "key_base64"`:           `{"type":"counter","value":"1"}`,
		`it takes "value" or "value_base64"`:       `{"key":"r","type":"register","value":"a","value_base64":"YQ=="}`,
		`"key" is null; it takes a string`:         `{"key":null,"type":"counter","value":"1"}`,
		`its type is "map"`:                        `{"key":"n","type":"map"}`,
		`its type is ""`:                           `{"key":"n","value":"1"}`,
		`its type is "operation"`:                  `{"key":"n","type":"operation"}`,
		"the key is empty":                         `{"key":"","type":"counter","value":"1"}`,
		"the key has 4097 bytes":                   `{"key":"` + strings.Repeat("k", 4097) + `","type":"counter","value":"1"}`,
		`"value" is "1.5"; of a counter`:           `{"key":"n","type":"counter","value":"1.5"}`,
		`"value" is 9223372036854775808`:           `{"key":"n","type":"counter","value":9223372036854775808}`,
		`"value" is ""; of a counter`:              `{"key":"n","type":"counter","value":""}`,
		`"value" is ; of a counter`:                `{"key":"n","type":"counter"}`,
		`it has "elements", which is not`:          `{"key":"n","type":"counter","value":"1","elements":["a"]}`,
		"it has 0 elements":                        `{"key":"s","type":"set","elements":[]}`,
		"it has 4097 elements":                     `{"key":"s","type":"set","elements":["a"` + strings.Repeat(`,"a"`, 4096) + `]}`,
		`"elements" is ["a",null]`:                 `{"key":"s","type":"set","elements":["a",null]}`,
		`"elements_base64" is ["?"]`:               `{"key":"s","type":"set","elements_base64":["?"]}`,
		"an element has 32769 bytes":               `{"key":"s","type":"set","elements":["` + strings.Repeat("e", 32769) + `"]}`,
		"its elements, and as many keys, have":     `{"key":"` + strings.Repeat("k", 4096) + `","type":"set","elements":["a"` + strings.Repeat(`,"a"`, 300) + `]}`,
		"a value has 1048577 bytes":                `{"key":"r","type":"register","value":"` + strings.Repeat("v", 1<<20+1) + `"}`,
		"a sibling: it takes":                      `{"key":"r","type":"register","value":"v","siblings":[{}]}`,
		`"siblings" is [{"value":"a","value":"b"}`: `{"key":"r","type":"register","value":"v","siblings":[{"value":"a","value":"b"}]}`,
		"it is the first line of an export":        `{"atoll_export":1}`,
		"an export that has no first line":         `{"lines":1}`,
	} {
		lines, number, err := read(strings.NewReader(good + "\n" + line + "\n" + good + "\n"))
		if !errors.Is(err, transfer.ErrBad) || number != 2 || len(lines) != 1 ||
			!strings.Contains(err.Error(), "line 2: ") || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n") || len(err.Error()) > 300 {
			t.Errorf("%s: %d lines, at line %d: %v", text, len(lines), number, err)
		}
	}
	for text, file := range map[string]string{
		"line 1: the export has format 2; this program reads format 1": `{"atoll_export":2}`,
		`line 1: it has "x"`: `{"atoll_export":1,"x":1}`,
		`line 1: "atoll_export" is "1"; it takes the number`: `{"atoll_export":"1"}`,
		"line 3 is missing: the export was cut":              `{"atoll_export":1}` + "\n" + good + "\n",
		"line 3: the export had 2 lines of data, here are 1": `{"atoll_export":1}` + "\n" + good + "\n" + `{"lines":2}`,
		"line 3: it comes after the last line of the export": `{"atoll_export":1}` + "\n" + `{"lines":0}` + "\n" + good,
		"line 1 has more than 33554432 bytes":                strings.Repeat("x", 32<<20+1),
		`line 2: "lines" is 1.5; it takes a number of lines`: `{"atoll_export":1}` + "\n" + `{"lines":1.5}`,
	} {
		if _, _, err := read(strings.NewReader(file)); !errors.Is(err, transfer.ErrBad) || !strings.Contains(err.Error(), text) {
			t.Errorf("%v; want %s", err, text)
		}
	}
}

// TestCut: an export that was cut anywhere is not taken for a whole one.
func TestCut(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var lines []transfer.Line
	for len(lines) < 20 {
		if l := random(r); len(fmt.Sprint(l)) < 200 {
			lines = append(lines, l)
		}
	}
	file := written(t, lines)
	broken := errors.New("the disk is on fire")
	for n := 1; n < len(file)-1; n++ { // the last line end does not matter
		if _, _, err := read(strings.NewReader(file[:n])); err == nil {
			t.Errorf("cut after %d of %d bytes it is taken", n, len(file))
		}
		got, number, err := read(io.MultiReader(strings.NewReader(file[:n]), iotest.ErrReader(broken)))
		want := strings.Count(file[:n+1], "\n") + 1 // a line that lacks its end alone is whole
		if !errors.Is(err, broken) || errors.Is(err, transfer.ErrBad) || number != want || len(got) != max(want-2, 0) {
			t.Errorf("cut after %d bytes by an error: %d lines, at line %d, want %d: %v", n, len(got), number, want, err)
		}
	}
}

// FuzzReader: whatever is read, written again, is read as the same.
func FuzzReader(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		if l := random(r); len(l.Elements) < 3 {
			f.Add([]byte(written(f, []transfer.Line{l})))
		}
	}
	f.Add([]byte(`{"key":"\ud83d\ude00","type":"counter","value":-5}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		lines, _, err := read(bytes.NewReader(file))
		if err != nil && !errors.Is(err, transfer.ErrBad) {
			t.Errorf("%v is not ErrBad", err)
		}
		for _, l := range lines {
			again, _, err := read(strings.NewReader(written(t, []transfer.Line{l})))
			if err != nil || len(again) != 1 || text(again[0]) != text(l) {
				t.Errorf("%s is read as %+v, %v", text(l), again, err)
			}
		}
	})
}
