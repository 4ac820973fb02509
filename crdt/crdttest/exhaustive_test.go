package crdttest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/atolldb/atoll/crdt"
)

// letter is one thing that can happen in a small world.
type letter struct {
	name string
	copy int // where it happens
	does func(*world) error
}

// writes returns a letter for every command at every copy.
func writes(copies int, commands ...command) []letter {
	var letters []letter
	for c := range copies {
		for _, does := range commands {
			letters = append(letters, letter{fmt.Sprintf("%s at %d", does, c), c, func(w *world) error {
				return w.write(w.copies[c], []command{does})
			}})
		}
	}
	return letters
}

// exchanges returns a letter for every way of doing something between two copies.
func exchanges(copies int, name string, does func(w *world, to, from int) error) []letter {
	var letters []letter
	for to := range copies {
		for from := range copies {
			if to != from {
				letters = append(letters, letter{fmt.Sprintf("%s from %d to %d", name, from, to), to, func(w *world) error {
					return does(w, to, from)
				}})
			}
		}
	}
	return letters
}

func merges(copies int) []letter {
	return exchanges(copies, "merge", func(w *world, to, from int) error {
		w.merge(w.copies[to], w.copies[from])
		return nil
	})
}

// deliveries bring the next event that a copy has not heard of another's own.
func deliveries(copies int) []letter {
	return exchanges(copies, "event", func(w *world, to, from int) error {
		r, actor := w.copies[to], w.copies[from].actor
		for number, e := range w.events {
			if e.Dot.Actor == actor && e.Dot.Seq == r.state.Heard().Vector()[actor]+1 {
				return w.deliver(r, number, nil)
			}
		}
		return nil
	})
}

func pulls(copies int, name string, lo, hi crdt.Position) []letter {
	return exchanges(copies, name, func(w *world, to, from int) error {
		return w.pull(w.copies[to], w.copies[from], lo, hi, 1<<16-1)
	})
}

// explore plays every history of so many more letters.
func explore(w *world, letters []letter, depth int, path ...string) (int, error) {
	played := 1
	for _, l := range letters {
		next, path := w.fork(), append(path, l.name)
		err := l.does(next)
		if err == nil {
			err = next.check(next.copies[l.copy])
		}
		if err != nil {
			return played, fmt.Errorf("%s: %w", strings.Join(path, ", "), err)
		}
		if depth > 1 {
			n, err := explore(next, letters, depth-1, path...)
			if played += n; err != nil {
				return played, err
			}
		} else {
			played++
		}
	}
	return played, nil
}

// game is a small world and what can happen in it.
type game struct {
	name    string
	copies  int
	depth   int
	fields  []crdt.FieldID
	letters []letter
}

func games() []game {
	plus, minus, away := command{put, 0, 7}, command{take, 0, 0}, command{wipe, 0, 0}
	var all []game
	for _, kind := range crdt.Types {
		field := crdt.FieldID{Object: crdt.Object{Key: "a", Type: kind}}
		for copies, depth := range map[int]int{2: 5, 3: 3} {
			letters := slices.Concat(writes(copies, plus, minus), merges(copies), deliveries(copies))
			all = append(all, game{fmt.Sprintf("%s of %d copies", kind, copies), copies, depth, []crdt.FieldID{field}, letters})
		}
	}
	set := crdt.Object{Key: "a", Type: crdt.TypeSet}
	low, high := crdt.FieldID{Object: set}, crdt.FieldID{Object: set, Name: "x"} // the empty name hashes to 0
	middle := high.Position()
	return append(all, game{"set in two ranges", 2, 4, []crdt.FieldID{low, high}, slices.Concat(
		writes(2, plus, command{put, 1, 0}, away), deliveries(2),
		pulls(2, "low range", "", middle), pulls(2, "high range", middle, crdt.End),
	)})
}

// TestAllSmallHistories plays every history of a few steps, up to renaming the
// copy that begins.
func TestAllSmallHistories(t *testing.T) {
	for _, g := range games() {
		t.Run(g.name, func(t *testing.T) {
			w := newWorld(g.copies, g.fields)
			if err := g.letters[0].does(w); err != nil {
				t.Fatal(err)
			}
			played, err := explore(w, g.letters, g.depth)
			if err != nil {
				t.Fatalf("%s, %v", g.letters[0].name, err)
			}
			t.Logf("%d histories", played)
		})
	}
}
