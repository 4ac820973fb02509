package replica

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/internal/store/badgerstore"
	pb "github.com/atolldb/atoll/proto"
)

// Set in the child only.
const (
	killDir   = "REPLICA_TEST_DIR"
	killRound = "REPLICA_TEST_ROUND"
)

const killWriters = 8

// promise is what a child has said: the facts that hold after the writes that
// were acknowledged, and those that each writer was about to make true.
type promise struct {
	facts   map[string]string
	pending map[string]map[string]string
}

// TestKill kills a member that writes to Badger with fsync, again and again.
// Every acknowledged write is there at the next start, digests and headers
// match the data as they are on disk, and nothing is rebuilt.
func TestKill(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	p := promise{facts: map[string]string{}}
	for round := range scaled(4, 2) {
		p.pending = map[string]map[string]string{}
		n := killOne(t, dir, round, 50+random.IntN(scaled(1000, 300)), p.take)
		m := openKilled(t, dir)
		audit(t, m.disk, m.options) // before anything could have been rebuilt
		m.open()
		p.check(t, m)
		m.stop()
		audit(t, m.disk, m.options)
		if err := m.disk.Close(); err != nil {
			t.Fatal(err)
		}
		t.Logf("round %d: killed after %d acknowledgements", round, n)
	}
}

func openKilled(t *testing.T, dir string) *member {
	t.Helper()
	s, err := badgerstore.Open(badgerstore.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return &member{cluster: &cluster{t: t}, options: testOptions("eu"), disk: &disk{Store: s}}
}

// killOne starts a child and kills it once it has acknowledged n writes. It
// returns how many it had acknowledged in the end.
func killOne(t *testing.T, dir string, round, n int, take func(line string) bool) int {
	t.Helper()
	deadline, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	child := exec.CommandContext(deadline, os.Args[0], "-test.run=^TestKillChild$")
	child.Env = append(os.Environ(), killDir+"="+dir, fmt.Sprint(killRound, "=", round))
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	count := 0
	for in := bufio.NewReader(out); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			break // a line without end was not acknowledged whole
		}
		if !take(strings.TrimSpace(line)) {
			continue
		}
		if count++; count == n {
			_ = child.Process.Kill() // what it printed meanwhile is still read
		}
	}
	_ = child.Wait()
	if count < n {
		t.Fatalf("the child acknowledged %d writes of %d: %v", count, n, deadline.Err())
	}
	return count
}

// take notes one line, "try WRITER FACT VALUE ..." or "ack WRITER", and says
// whether it acknowledges.
func (p *promise) take(line string) bool {
	words := strings.Fields(line)
	switch {
	case len(words) > 3 && words[0] == "try":
		facts := map[string]string{}
		for i := 2; i+1 < len(words); i += 2 {
			facts[words[i]] = words[i+1]
		}
		p.pending[words[1]] = facts
	case len(words) == 2 && words[0] == "ack":
		maps.Copy(p.facts, p.pending[words[1]])
		delete(p.pending, words[1])
		return true
	}
	return false
}

// check compares a member with what was promised: a fact holds, or the one
// that was about to replace it, which then is what holds.
func (p *promise) check(t *testing.T, m *member) {
	t.Helper()
	for _, next := range p.pending {
		done := 0
		for fact, value := range next {
			if m.fact(fact) == value {
				p.facts[fact] = value
				done++
			}
		}
		if done > 0 && done < len(next) {
			t.Errorf("of one request only a part was done: %v", next)
		}
	}
	for fact, value := range p.facts {
		if got := m.fact(fact); got != value {
			t.Errorf("%s is %s, acknowledged was %s", fact, got, value)
		}
	}
}

// fact returns the value of a counter, a register, the number of elements of a
// set, or whether an element is in a set: c3, r3, n3, s3/element.
func (m *member) fact(name string) string {
	key, element, isElement := strings.Cut(name, "/")
	switch {
	case isElement:
		return fmt.Sprint(m.do(has(key, element))[0].Flag)
	case key[0] == 'c':
		return fmt.Sprint(m.number(count(key)))
	case key[0] == 'n':
		return fmt.Sprint(m.number(card(key)))
	}
	return strings.Join(append(m.values(key), ""), "")
}

// TestKillChild is the process that TestKill kills.
func TestKillChild(t *testing.T) {
	dir := os.Getenv(killDir)
	if dir == "" {
		t.Skip("runs as the child of TestKill")
	}
	m := openKilled(t, dir)
	m.open()
	var writers sync.WaitGroup
	for w := range killWriters {
		writers.Go(func() { killWriter(m, os.Getenv(killRound), fmt.Sprint(w)) })
	}
	writers.Wait()
}

// killWriter writes to keys of its own. It says what it is about to do, and
// that it is done.
func killWriter(m *member, round, w string) {
	write := func(facts string, ops ...*pb.Operation) {
		fmt.Println("try", w, facts)
		m.do(ops...)
		fmt.Println("ack", w)
	}
	n := m.number(count("c" + w))
	deadline := time.Now().Add(patience) // in case nobody kills it
	for i := 0; time.Now().Before(deadline); i++ {
		e := fmt.Sprint("s", w, "/", round, "-", i)
		n++
		write(fmt.Sprint("c", w, " ", n), incr("c"+w, 1))
		write(fmt.Sprint("r", w, " ", n), set("r"+w, fmt.Sprint(n)))
		write(e+"x true "+e+"y true", add("s"+w, e[3:]+"x", e[3:]+"y"))
		write(e+"x false", remove("s"+w, e[3:]+"x"))
		if i%20 == 10 { // a set that takes several steps to clear
			large := names(2*maxStepSize/fieldSize, "e")[:maxElements]
			write(fmt.Sprint("n", w, " ", len(large)), add("n"+w, large...))
			write("n"+w+" 0", del("n"+w, 0))
		}
	}
}
