package crdt_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/atolldb/atoll/crdt"
)

// The tables of docs/merge-rules.md and README.md that say what merges how are
// run here, row by row. A cell holds commands on one key, see region.do, or what
// the key holds in the end, see describe.

var (
	concurrent = []string{"both had", "one region", "the other", "both, in the end"}
	causal     = []string{"one region, on keys of one shard", "others may see", "and never"}
)

// TestMergeRules runs each row with each region in the place of the other, and has
// copies hear of both in every order.
func TestMergeRules(t *testing.T) {
	for file, least := range map[string]int{"../docs/merge-rules.md": 45, "../README.md": 12} {
		rows := tableRows(t, file, concurrent)
		if len(rows) < least {
			t.Errorf("%s: found %d rows, want %d at least", file, len(rows), least)
		}
		for _, row := range rows {
			if len(row.cells) != len(concurrent) {
				t.Errorf("%s: %d cells", row.at, len(row.cells))
				continue
			}
			ends := append(merged(t, row, 1, 2), merged(t, row, 2, 1)...)
			want := outcomes(row.cells[3])
			for _, got := range ends {
				if !slices.Contains(want, got) {
					t.Errorf("%s: in the end it is %q, want %q", row.at, got, want)
				}
			}
			for _, end := range want {
				if !slices.Contains(ends, end) {
					t.Errorf("%s: in the end it is never %q", row.at, end)
				}
			}
		}
	}
}

// TestCausalRules delivers the events of each row in every order and compares what
// can be seen on the way.
func TestCausalRules(t *testing.T) {
	rows := tableRows(t, "../docs/merge-rules.md", causal)
	if len(rows) < 3 {
		t.Errorf("found %d rows", len(rows))
	}
	for _, row := range rows {
		writer := region{t, row.at, 1, crdt.NewState(), nil}
		writer.do(row.cells[0], nil)
		seen := map[string]bool{}
		permute(len(writer.events), func(order []int) {
			copy := crdt.NewState()
			seen[describe(t, copy)] = true
			for range order { // what waits for others comes with one of the rounds
				for _, i := range order {
					if copy.Apply(writer.events[i]) == nil {
						seen[describe(t, copy)] = true
					}
				}
			}
		})
		may, never := outcomes(row.cells[1]), outcomes(row.cells[2])
		for _, what := range may {
			if !seen[what] {
				t.Errorf("%s: %q is never seen", row.at, what)
			}
			delete(seen, what)
		}
		for what := range seen {
			t.Errorf("%s: %q can be seen", row.at, what)
		}
		for _, what := range never {
			if slices.Contains(may, what) {
				t.Errorf("%s: %q is seen and never seen", row.at, what)
			}
		}
	}
}

// merged runs a row under the actors of one region and the other, and returns what
// copies hold that have heard of it in different ways.
func merged(t *testing.T, row tableRow, first, second crdt.Actor) []string {
	t.Helper()
	both := region{t, row.at, 9, crdt.NewState(), nil}
	both.do(row.cells[0], nil)
	one := region{t, row.at, first, both.state.Clone(), nil}
	other := region{t, row.at, second, both.state.Clone(), nil}
	one.do(row.cells[1], nil)
	other.do(row.cells[2], &one)

	third, fourth := both.state.Clone(), crdt.NewState()
	third.Merge(one.state)
	third.Merge(other.state)
	for range 2 {
		fourth.Merge(other.state)
		fourth.Merge(one.state)
	}
	for _, e := range one.events {
		if err := other.state.Apply(e); err != nil {
			t.Fatalf("%s: %v", row.at, err)
		}
	}
	for _, e := range other.events {
		if err := one.state.Apply(e); err != nil {
			t.Fatalf("%s: %v", row.at, err)
		}
	}
	var ends []string
	for _, s := range []*crdt.State{one.state, other.state, third, fourth} {
		if !s.Equal(third) {
			t.Errorf("%s: the copies differ", row.at)
		}
		ends = append(ends, describe(t, s))
	}
	return ends
}

// region is a copy and the events that were made on it.
type region struct {
	t      *testing.T
	row    string
	actor  crdt.Actor
	state  *crdt.State
	events []*crdt.Event
}

const ruleKey = "key"

// do runs the commands of a cell. The other region is whom "hear" hears.
func (r *region) do(cell string, other *region) {
	r.t.Helper()
	for _, request := range fields(cell, ", then ") {
		if request == "hear" {
			r.state.Merge(other.state)
			continue
		}
		d := r.state.Draft(r.actor)
		for _, command := range fields(request, " with ") {
			if err := execute(d, strings.Fields(command)); err != nil {
				r.t.Fatalf("%s: %s: %v", r.row, command, err)
			}
		}
		e, changed := d.Event(0)
		if !changed {
			continue
		}
		if err := r.state.Apply(e); err != nil {
			r.t.Fatalf("%s: %v", r.row, err)
		}
		r.events = append(r.events, e)
	}
}

// execute drafts one command on the key.
func execute(d *crdt.Draft, words []string) error {
	rest := ""
	if len(words) > 2 {
		rest = words[2]
	}
	switch command := strings.Join(words[:min(2, len(words))], " "); command {
	case "counter reset":
		return d.ResetCounter(ruleKey)
	case "set add", "set remove":
		for _, element := range words[2:] {
			change := d.AddElement
			if command == "set remove" {
				change = d.RemoveElement
			}
			if _, err := change(ruleKey, element); err != nil {
				return err
			}
		}
		return nil
	case "register =":
		var hour, minute uint64
		if _, err := fmt.Sscanf(strings.Join(words[3:], " "), "at %d:%d", &hour, &minute); err != nil {
			return err
		}
		return d.WriteRegister(ruleKey, 60*hour+minute, []byte(rest))
	case "delete":
		for _, of := range crdt.Types {
			if err := d.Delete(crdt.Object{Key: ruleKey, Type: of}); err != nil {
				return err
			}
		}
		return nil
	default:
		if words[0] != "counter" || len(words) != 2 {
			return fmt.Errorf("no such command")
		}
		k, err := strconv.ParseInt(words[1], 10, 64)
		if err == nil {
			_, err = d.AddToCounter(ruleKey, k)
		}
		return err
	}
}

// describe says what the key holds, in the order counter, set, register. What is
// 0, empty or not there is left out where something is.
func describe(t *testing.T, s *crdt.State) string {
	t.Helper()
	entries := func(of crdt.Type) crdt.Entries {
		es, err := s.Field(crdt.FieldID{Object: crdt.Object{Key: ruleKey, Type: of}}.Position())
		if err != nil {
			t.Fatal(err)
		}
		return es
	}
	var holds []string
	if n := crdt.CounterValue(entries(crdt.TypeCounter)); n != 0 {
		holds = append(holds, fmt.Sprintf("counter %d", n))
	}
	var elements []string
	lo, hi := crdt.Object{Key: ruleKey, Type: crdt.TypeSet}.Range()
	err := s.Visit(lo, hi, func(at crdt.Position, _ crdt.Entries) error {
		id, err := at.FieldID()
		elements = append(elements, id.Name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if slices.Sort(elements); len(elements) > 0 {
		holds = append(holds, "set {"+strings.Join(elements, ", ")+"}")
	}
	var values []string
	for _, e := range crdt.Ranked(entries(crdt.TypeRegister)) {
		values = append(values, string(e.Payload.(crdt.Sibling).Value))
	}
	if len(values) > 0 {
		holds = append(holds, "register "+strings.Join(values, " beside "))
	}
	if len(holds) == 0 {
		return "nothing"
	}
	return strings.Join(holds, " and ")
}

// outcomes returns the descriptions in code font in a cell, before the reason.
func outcomes(cell string) (all []string) {
	cell, _, _ = strings.Cut(cell, ": ")
	for i, part := range strings.Split(cell, "`") {
		if i%2 == 0 {
			continue
		}
		switch part {
		case "counter 0", "set {}", "no register":
			part = "nothing"
		}
		all = append(all, part)
	}
	return all
}

// fields splits what stands in code font, nothing into nothing.
func fields(cell, separator string) []string {
	if cell = strings.Trim(cell, "` "); cell == "" {
		return nil
	}
	return strings.Split(cell, separator)
}

type tableRow struct {
	at    string // file and line
	cells []string
}

// tableRows returns the rows of all tables of a Markdown file that have a header.
func tableRows(t *testing.T, file string, header []string) (rows []tableRow) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for i, line := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(line, "|") {
			inside = false
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case slices.Equal(cells, header):
			inside = true
		case inside && !strings.HasPrefix(line, "|---"):
			rows = append(rows, tableRow{fmt.Sprintf("%s:%d", file, i+1), cells})
		}
	}
	return rows
}

// permute calls f with every order of 0 to n-1.
func permute(n int, f func(order []int)) {
	var extend func(order []int)
	extend = func(order []int) {
		if len(order) == n {
			f(order)
		}
		for i := range n {
			if !slices.Contains(order, i) {
				extend(append(slices.Clip(order), i))
			}
		}
	}
	extend(nil)
}
