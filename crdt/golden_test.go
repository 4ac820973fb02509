package crdt_test

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/atolldb/atoll/crdt"
)

var update = flag.Bool("update", false, "write testdata/encodings.txt anew")

// samples returns one value of each kind that is stored or sent, encoded.
func samples(t *testing.T) []string {
	heard := crdt.NewHeard(crdt.VersionVector{1: 2})
	heard.Observe("a", "b", crdt.Dot{Actor: 0x0102030405060708, Seq: 300})
	state := crdt.NewState()
	drafted(t, state, 7, func(d *crdt.Draft) {
		must(d.AddToCounter("hits", -3))
		must(d.AddElement("cart", ""))
		must(d.AddElement("cart", "apple"))
		must(0, d.WriteRegister("name", 5, []byte("Ada")))
	})
	state.Heard().Observe("\x80", crdt.End, crdt.Dot{Actor: 8, Seq: 1})

	gcounter, pncounter := crdt.NewGCounter(1), crdt.NewPNCounter(2)
	orset, register := crdt.NewORSet(3), crdt.NewLWWRegister(4)
	must(gcounter.Add(5))
	must(pncounter.Add(-5))
	must(orset.Add("x", "y"))
	must(register.Set([]byte("v"), 6))
	other := crdt.NewPNCounter(9)
	other.Merge(pncounter)
	must(other.Reset())

	dot := crdt.Dot{Actor: 1, Seq: 128}
	sample := func(name string, encoded []byte) string { return fmt.Sprintf("%-13s %x", name, encoded) }
	return []string{
		sample("vector", crdt.VersionVector{1: 1, 0xffffffffffffffff: 300, 3: 0}.AppendTo(nil)),
		sample("heard", heard.AppendTo(nil)),
		sample("presence", crdt.Entries{{Dot: dot, Payload: crdt.Presence{}}}.AppendTo(nil)),
		sample("sibling", crdt.Entries{{Dot: dot, Payload: crdt.Sibling{Time: 1 << 40, Value: []byte("v")}}}.AppendTo(nil)),
		sample("contribution", crdt.Entries{{Dot: dot, Payload: crdt.Contribution{N: 200, Total: -2, ResetN: 130, ResetTotal: 64}}}.AppendTo(nil)),
		sample("corrected", crdt.Entries{{Dot: dot, Payload: crdt.Contribution{
			N: 200, Total: -2, ResetN: 130, ResetTotal: 64,
			Corrections: []crdt.Correction{{From: 129, At: 131, Amount: -5}, {From: 131, At: 200, Amount: 7}},
		}}}.AppendTo(nil)),
		sample("record", crdt.Entries{{Dot: dot, Payload: crdt.Record{Into: 128, Amount: -3}}}.AppendTo(nil)),
		sample("position", []byte(element("cart", "apple").Position())),
		sample("event", goodEvent().AppendTo(nil)),
		sample("state", []byte(encode(t, state))),
		sample("gcounter", []byte(encode(t, gcounter))),
		sample("pncounter", []byte(encode(t, other))),
		sample("orset", []byte(encode(t, orset))),
		sample("lwwregister", []byte(encode(t, register))),
	}
}

// TestEncodings pins every byte that is stored, sent or hashed. If it fails,
// data on disk and members of another version do not understand this program:
// a new format needs a new version number and a way to read the old. Then
//
//	go test ./crdt -run Encodings -update
func TestEncodings(t *testing.T) {
	const file = "testdata/encodings.txt"
	got := strings.Join(samples(t), "\n") + "\n"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the encodings changed\ngot\n%swant\n%s", got, want)
	}
}

// TestEncodingsAreRead decodes what is pinned, as old data will be.
func TestEncodingsAreRead(t *testing.T) {
	text := must(os.ReadFile("testdata/encodings.txt"))
	for line := range strings.Lines(string(text)) {
		name, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
		encoded := must(hex.DecodeString(strings.TrimSpace(digits)))
		again, err := recode(name, encoded)
		if err != nil || string(again) != string(encoded) {
			t.Errorf("%s: %x is read as %x: %v", name, encoded, again, err)
		}
	}
}

// recode decodes and encodes again.
func recode(kind string, b []byte) ([]byte, error) {
	switch kind {
	case "vector":
		v, err := crdt.DecodeVector(b)
		return v.AppendTo(nil), err
	case "heard":
		h, err := crdt.DecodeHeard(b)
		if err != nil {
			return nil, err
		}
		return h.AppendTo(nil), nil
	case "presence", "sibling", "contribution", "corrected", "record":
		t := map[string]crdt.Type{
			"presence": crdt.TypeSet, "sibling": crdt.TypeRegister,
			"contribution": crdt.TypeCounter, "corrected": crdt.TypeCounter, "record": crdt.TypeOperation,
		}[kind]
		es, err := crdt.DecodeEntries(t, b)
		return es.AppendTo(nil), err
	case "position":
		id, err := crdt.DecodePosition(crdt.Position(b))
		return []byte(id.Position()), err
	case "event":
		e, err := crdt.DecodeEvent(b)
		if err != nil {
			return nil, err
		}
		return e.AppendTo(nil), nil
	}
	value := map[string]interface {
		MarshalBinary() ([]byte, error)
		UnmarshalBinary([]byte) error
	}{
		"state": crdt.NewState(), "gcounter": crdt.NewGCounter(1), "pncounter": crdt.NewPNCounter(1),
		"orset": crdt.NewORSet(1), "lwwregister": crdt.NewLWWRegister(1),
	}[kind]
	if err := value.UnmarshalBinary(b); err != nil {
		return nil, err
	}
	return value.MarshalBinary()
}
