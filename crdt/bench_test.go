package crdt_test

import (
	"fmt"
	"testing"

	"github.com/atolldb/atoll/crdt"
)

func BenchmarkIncrement(b *testing.B) {
	s := crdt.NewState()
	b.ReportAllocs()
	for b.Loop() {
		d := s.Draft(1)
		must(d.AddToCounter("hits", 1))
		e, _ := d.Event(0)
		if err := s.Apply(e); err != nil {
			b.Fatal(err)
		}
	}
}

// filled returns a copy of a set of so many elements.
func filled(a crdt.Actor, elements int) *crdt.ORSet {
	s := crdt.NewORSet(a)
	names := make([]string, elements)
	for i := range names {
		names[i] = fmt.Sprint("element ", i)
	}
	must(s.Add(names...))
	return s
}

func BenchmarkSetAdd(b *testing.B) {
	for _, elements := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(elements), func(b *testing.B) {
			s := filled(1, elements)
			names := make([]string, 100)
			for i := range names {
				names[i] = fmt.Sprint("element ", i)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				must(s.Add(names[i%len(names)]))
			}
		})
	}
}

func BenchmarkMerge(b *testing.B) {
	for _, elements := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(elements), func(b *testing.B) {
			s, other := crdt.NewORSet(2), filled(1, elements)
			s.Merge(other)
			b.ReportAllocs()
			for b.Loop() {
				must(other.Add("element 1"))
				s.Merge(other)
			}
		})
	}
}

func BenchmarkEvent(b *testing.B) {
	for _, changes := range []int{1, 1_000} {
		d := crdt.NewState().Draft(1)
		for i := range changes {
			must(d.AddElement("set", fmt.Sprint("element ", i)))
		}
		e, _ := d.Event(1)
		raw := e.AppendTo(nil)
		b.Run(fmt.Sprint("encode/", changes), func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				raw = e.AppendTo(raw[:0])
			}
		})
		b.Run(fmt.Sprint("decode/", changes), func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				must(crdt.DecodeEvent(raw))
			}
		})
	}
}
