package replica

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/transport/memnet"
)

// access is a write of a value to a register, or a read of it.
type access struct {
	write bool
	value string
}

// theRegister is a register with one copy, which nothing happens to.
var theRegister = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		if a := input.(access); a.write {
			return true, a.value
		}
		return output == state, state
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprint(input, " -> ", output) },
}

// Linearizable reads and writes of a register are as if it had one copy, while
// regions are cut off and come back, and clocks are minutes apart.
func TestLinearizable(t *testing.T) {
	random := seeded(t)
	for range scaled(6, 2) {
		history := record(t, random, exact)
		switch result, _ := porcupine.CheckOperationsVerbose(theRegister, history, time.Minute); result {
		case porcupine.Illegal:
			t.Fatalf("no single register does this:\n%s", listed(history))
		case porcupine.Unknown:
			t.Fatalf("could not be checked in time: %d operations", len(history))
		}
	}
}

// isUndone says that a write that failed will never be seen.
func isUndone(err error) bool {
	text := err.Error()
	return !strings.Contains(text, "the write is kept") && (strings.Contains(text, "nothing was changed") || errors.Is(err, ErrBehind))
}

// record has clients of five members in five regions read and write one
// register while regions are cut off, and returns what they saw.
func record(t *testing.T, random *rand.Rand, level pb.Consistency) []porcupine.Operation {
	c := newCluster(t, memnet.Options{})
	var regions []string
	for i := range 5 {
		name := fmt.Sprint("m", i)
		skew := time.Duration(random.IntN(600)-300) * time.Second
		c.start(name, func(o *Options) {
			enrolled("1")(o)
			o.Now = func() time.Time { return time.Now().Add(skew) }
		})
		regions = append(regions, name)
	}
	c.allKnow()
	const least = 30 // operations that come to something
	patienceMs := uint32(100)
	if raceDetector {
		patienceMs = 300
	}
	var mu sync.Mutex
	var history []porcupine.Operation
	isShort := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(history) < least
	}
	done, writes := 0, 0
	cut := ""
	// meddle is called between operations, and changes the network every few.
	meddle := func() {
		mu.Lock()
		defer mu.Unlock()
		if done++; done%12 != 0 {
			return
		}
		if cut != "" {
			c.network.RestoreRegion(cut)
		}
		cut = regions[random.IntN(len(regions))]
		c.network.CutRegion(cut)
	}
	began := time.Now()
	var clients sync.WaitGroup
	for client := range 5 {
		own := rand.New(rand.NewPCG(random.Uint64(), uint64(client)))
		clients.Go(func() {
			for i := 0; i < scaled(40, 20) || isShort() && time.Since(began) < patience; i++ {
				m := c.members[own.IntN(len(c.members))]
				mu.Lock()
				writes++
				a := access{own.IntN(2) == 0, fmt.Sprint("v", writes)}
				mu.Unlock()
				op := get("r")
				if a.write {
					op = set("r", a.value)
				}
				called := time.Since(began).Nanoseconds()
				answer, err := m.atWithin(level, patienceMs, op)
				returned := time.Since(began).Nanoseconds()
				output := ""
				switch {
				case err == nil && !a.write && len(answer.Results[0].Siblings) > 0:
					output = string(answer.Results[0].Siblings[0].Value)
				case err != nil && (!a.write || isUndone(err)):
					meddle()
					continue // nothing happened
				case err != nil:
					returned = math.MaxInt64 // it may take effect at any time from now on
				}
				mu.Lock()
				history = append(history, porcupine.Operation{ClientId: client, Input: a, Call: called, Output: output, Return: returned})
				mu.Unlock()
				meddle()
			}
		})
	}
	clients.Wait()
	if cut != "" {
		c.network.RestoreRegion(cut)
	}
	for i := range history { // one that never returned keeps its client busy
		if history[i].Return == math.MaxInt64 {
			history[i].ClientId = 100 + i
		}
	}
	if len(history) < least {
		t.Errorf("only %d operations came to something", len(history))
	}
	return history
}

func listed(history []porcupine.Operation) string {
	var b strings.Builder
	for _, o := range history {
		fmt.Fprintf(&b, "%12d %20d  client %d: %v -> %v\n", o.Call, o.Return, o.ClientId, o.Input, o.Output)
	}
	return b.String()
}
