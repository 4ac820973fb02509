package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/atolldb/atoll/crdt"
)

// payload is what an entry carries, of any type.
type payload struct {
	kind   byte // of crdt's encoding: presence, sibling, contribution
	time   uint64
	value  string
	n, rn  uint64 // contribution: the owner's last update, and the last that was reset
	total  int64
	rtotal int64
	fixed  string // what the owner has taken back, encoded: see corrections
}

func payloadOf(p crdt.Payload) payload {
	switch p := p.(type) {
	case crdt.Sibling:
		return payload{kind: 1, time: p.Time, value: string(p.Value)}
	case crdt.Contribution:
		return payload{kind: 2, n: p.N, total: p.Total, rn: p.ResetN, rtotal: p.ResetTotal, fixed: corrections(p.Corrections, p.ResetN)}
	case crdt.Record:
		return payload{kind: 3, n: p.Into, total: p.Amount}
	}
	return payload{}
}

// both returns what two puts of one entry come to.
func (p payload) both(o payload) payload {
	if p.kind != 2 {
		return p // written once
	}
	if o.n > p.n {
		p.n, p.total, p.fixed = o.n, o.total, o.fixed
	}
	if o.rn > p.rn {
		p.rn, p.rtotal = o.rn, o.rtotal
	}
	p.fixed = unseen(p.fixed, p.rn)
	return p
}

func (p payload) String() string {
	switch p.kind {
	case 1:
		return fmt.Sprintf("%q@%d", p.value, p.time)
	case 2:
		return fmt.Sprintf("(%d,%d,%d,%d%s)", p.n, p.total, p.rn, p.rtotal, p.fixed)
	case 3:
		return fmt.Sprintf("[%d in %d]", p.total, p.n)
	}
	return "+"
}

// entries is what a field holds, by dot.
type entries map[crdt.Dot]payload

func (es entries) String() string {
	dots := make([]crdt.Dot, 0, len(es))
	for d := range es {
		dots = append(dots, d)
	}
	slices.SortFunc(dots, func(a, b crdt.Dot) int {
		return cmp.Or(cmp.Compare(a.Actor, b.Actor), cmp.Compare(a.Seq, b.Seq))
	})
	var b strings.Builder
	for _, d := range dots {
		fmt.Fprintf(&b, " %s%v", brief(d), es[d])
	}
	return "{" + strings.TrimPrefix(b.String(), " ") + "}"
}

// brief names a dot as people would: members' actors are small numbers.
func brief(d crdt.Dot) string { return fmt.Sprintf("%d:%d", d.Actor, d.Seq) }

func covers(v crdt.VersionVector, d crdt.Dot) bool { return d.Seq <= v[d.Actor] }

// effect returns what exactly the events that were heard leave in a field: all
// their puts, less what any of them removes or clears, in whatever order.
func (r *record) effect(f *field, heard crdt.VersionVector) entries {
	es := entries{}
	for _, e := range f.events {
		if !covers(heard, e.Dot) {
			continue
		}
		for _, c := range e.Changes {
			if c.Field != f.id {
				continue
			}
			for _, put := range c.Puts {
				p := payloadOf(put.Payload)
				if was, ok := es[put.Dot]; ok {
					p = was.both(p)
				}
				es[put.Dot] = p
			}
		}
	}
	for _, e := range f.events {
		if !covers(heard, e.Dot) {
			continue
		}
		for _, c := range e.Changes {
			if c.Field == f.id {
				for _, d := range c.Removes {
					delete(es, d)
				}
			}
		}
	}
	for _, e := range r.clears[f.id.Object] {
		if f.id.Type == crdt.TypeCounter || !covers(heard, e.Dot) {
			continue
		}
		for _, c := range e.Clears {
			if c.Object != f.id.Object {
				continue
			}
			for d := range es {
				if covers(c.UpTo, d) {
					delete(es, d)
				}
			}
		}
	}
	return es
}

// entriesOf returns what decoded entries say.
func entriesOf(decoded crdt.Entries) entries {
	es := entries{}
	for _, e := range decoded {
		es[e.Dot] = payloadOf(e.Payload)
	}
	return es
}
