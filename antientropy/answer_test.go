package antientropy

import (
	"errors"
	"fmt"
	"testing"

	"github.com/atolldb/atoll/crdt"
	"github.com/atolldb/atoll/merkle"
)

var everything = Range{Lo: "", Hi: crdt.End, Digest: merkle.Digest{Count: 1, Low: 1}}

// checkCover checks that parts cover the ranges from the first on, in order.
func checkCover(t *testing.T, ranges []Range, parts []Part) (rest []Range) {
	t.Helper()
	rest, err := uncovered(ranges, parts)
	if err != nil {
		t.Fatal(err)
	}
	return rest
}

func TestAnswerEqual(t *testing.T) {
	_, theirs := filled(t, 100)
	root, _ := theirs.Digest("", crdt.End)
	parts, err := Answer(theirs, []Range{{"", crdt.End, root}}, 1000)
	if err != nil || len(parts) != 1 || parts[0].Complete || parts[0].Digest != root || !parts[0].Heard.Dominates(theirs.Heard().Vector()) {
		t.Errorf("%+v, %v", parts, err)
	}
}

// Few entries are sent at once; so is all, to one who has nothing.
func TestAnswerComplete(t *testing.T) {
	for n, asked := range map[int]merkle.Digest{0: everything.Digest, fewEntries: everything.Digest, 1000: {}} {
		_, theirs := filled(t, n)
		parts, err := Answer(theirs, []Range{{"", crdt.End, asked}}, 1<<20)
		if err != nil || len(parts) != 1 || !parts[0].Complete || len(parts[0].Fields) != n {
			t.Errorf("%d entries: %d parts, %v", n, len(parts), err)
		}
	}
}

func TestAnswerSplits(t *testing.T) {
	_, theirs := filled(t, 1000)
	parts, err := Answer(theirs, []Range{everything}, 1<<20)
	if err != nil || len(parts) != fanout {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
	var sum merkle.Digest
	for _, p := range parts {
		own, _ := theirs.Digest(p.Lo, p.Hi)
		if p.Complete || p.Digest != own || own.Count == 0 {
			t.Errorf("part %+v is %v", p, own)
		}
		sum = sum.Add(p.Digest)
	}
	if rest := checkCover(t, []Range{everything}, parts); len(rest) != 0 || sum.Count != 1000 {
		t.Errorf("%d entries; not covered: %v", sum.Count, rest)
	}
}

// One field of very many entries cannot be split, and is sent.
func TestAnswerOneField(t *testing.T) {
	theirs := newMemory(2)
	for i := range 2 * fewEntries {
		other := newMemory(crdt.Actor(10 + i))
		other.write(t, func(d *crdt.Draft) error {
			_, err := d.AddToCounter("c", 1)
			return err
		})
		theirs.Merge(other.State)
	}
	parts, err := Answer(theirs, []Range{everything}, 1<<20)
	if err != nil || len(parts) != 1 || !parts[0].Complete || len(parts[0].Fields) != 1 || len(parts[0].Fields[0].Entries) != 2*fewEntries {
		t.Errorf("%+v, %v", parts, err)
	}
}

// An answer ends where its budget does, but for one field; it always brings
// something, and repeating the rest ends.
func TestAnswerBudget(t *testing.T) {
	_, theirs := filled(t, 300)
	for _, budget := range []int{1, 100, 1000, 10_000} {
		ranges, fields, answers := []Range{{Lo: "", Hi: crdt.End}}, 0, 0
		for ; len(ranges) > 0; answers++ {
			parts, err := Answer(theirs, ranges, budget)
			if err != nil || len(parts) == 0 {
				t.Fatalf("budget %d: %d parts, %v", budget, len(parts), err)
			}
			bytes := 0
			for _, p := range parts {
				for i, f := range p.Fields {
					if last := i == len(p.Fields)-1; !last || i > 0 {
						bytes += len(f.At)
					}
				}
				fields += len(p.Fields)
			}
			if bytes > budget+100 {
				t.Errorf("budget %d: %d bytes", budget, bytes)
			}
			ranges = checkCover(t, ranges, parts)
		}
		if fields != 300 {
			t.Errorf("budget %d: %d fields in %d answers", budget, fields, answers)
		}
	}
}

// Long bounds count as well.
func TestAnswerBudgetOfBounds(t *testing.T) {
	theirs := newMemory(2)
	theirs.write(t, func(d *crdt.Draft) error {
		for i := range 200 {
			if _, err := d.AddElement("set", fmt.Sprintf("%01000d", i)); err != nil {
				return err
			}
		}
		return nil
	})
	var ranges []Range
	halves, err := theirs.Split(Range{"", crdt.End, merkle.Digest{Count: 200}}, 8)
	if err != nil {
		t.Fatal(err)
	}
	for _, half := range halves {
		ranges = append(ranges, Range{half.Lo, half.Hi, everything.Digest})
	}
	parts, err := Answer(theirs, ranges, 20_000)
	if err != nil {
		t.Fatal(err)
	}
	bytes := 0
	for _, p := range parts {
		bytes += len(p.Lo) + len(p.Hi)
	}
	if bytes > 20_000+2*1000*fanout {
		t.Errorf("%d bytes of bounds in %d parts", bytes, len(parts))
	}
	checkCover(t, ranges, parts)
}

// Ranges that heard different things are answered apart, each with its own.
func TestAnswerSpans(t *testing.T) {
	_, source := filled(t, 500)
	theirs := newMemory(3)
	if _, err := theirs.pull(t, source, 1<<12, func(question int) bool { return question < 3 }); err != nil {
		t.Fatal(err)
	}
	if theirs.Heard().Whole() {
		t.Fatal("nothing is ahead")
	}
	parts, err := Answer(theirs, []Range{everything}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	checkCover(t, []Range{everything}, parts)
	for _, p := range parts {
		for _, span := range theirs.Spans(p.Lo, p.Hi) {
			if span.Vector.Compare(p.Heard) != crdt.Equal {
				t.Errorf("part [%x, %x) says that it heard %v, it heard %v", p.Lo, p.Hi, p.Heard, span.Vector)
			}
		}
	}
}

type brokenSource struct {
	*memory
	err error
}

func (s brokenSource) Fields(crdt.Position, crdt.Position, func(crdt.FieldEntries, int) bool) error {
	return s.err
}

func TestAnswerError(t *testing.T) {
	_, theirs := filled(t, 10)
	failure := errors.New("disk")
	if parts, err := Answer(brokenSource{theirs, failure}, []Range{everything}, 1000); !errors.Is(err, failure) || parts != nil {
		t.Errorf("%v, %v", parts, err)
	}
}
