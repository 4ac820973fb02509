package badgerstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/internal/store/badgerstore"
)

// Set in the child only.
const (
	killDir        = "BADGERSTORE_TEST_DIR"
	killDurability = "BADGERSTORE_TEST_DURABILITY"
	killRound      = "BADGERSTORE_TEST_ROUND"
)

const killCommitters = 3

// TestKill kills a process that commits, several times in one directory. Every
// batch whose Commit had returned must be there, and none in part.
func TestKill(t *testing.T) {
	for _, durability := range []badgerstore.Durability{badgerstore.Fsync, badgerstore.OS} {
		t.Run(string(durability), func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			dir := t.TempDir()
			acknowledged := map[string]bool{}
			for round := range 4 {
				killOne(t, dir, durability, round, 1+random.IntN(400), acknowledged)
				checkBatches(t, dir, acknowledged)
			}
		})
	}
}

// killOne starts a child and kills it when it has acknowledged n batches, which
// it adds to acknowledged.
func killOne(t *testing.T, dir string, durability badgerstore.Durability, round, n int, acknowledged map[string]bool) {
	t.Helper()
	deadline, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	child := exec.CommandContext(deadline, os.Args[0], "-test.run=^TestKillChild$")
	child.Env = append(os.Environ(), killDir+"="+dir, killDurability+"="+string(durability), killRound+"="+strconv.Itoa(round))
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
		name, found := strings.CutPrefix(strings.TrimSpace(line), "committed ")
		if !found {
			continue
		}
		acknowledged[name] = true
		if count++; count == 1 {
			checkInUse(t, dir, child.Process.Pid)
		}
		if count == n {
			child.Process.Kill() // what it printed meanwhile is still read
		}
	}
	child.Wait()
	if deadline.Err() != nil || count < n {
		t.Fatalf("round %d: the child acknowledged %d batches of %d: %v", round, count, n, deadline.Err())
	}
	t.Logf("round %d: killed after %d batches", round, count)
}

// checkInUse: the directory of a running process cannot be opened.
func checkInUse(t *testing.T, dir string, pid int) {
	t.Helper()
	s, err := badgerstore.Open(badgerstore.Options{Dir: dir})
	if err == nil {
		s.Close()
	}
	if !errors.Is(err, store.ErrInUse) {
		t.Fatalf("Open of a directory in use: %v, want ErrInUse", err)
	}
	for _, part := range []string{dir, strconv.Itoa(pid)} {
		if !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "\n") {
			t.Fatalf("the error %q is not one line with %q", err, part)
		}
	}
}

// checkBatches wants every acknowledged batch, and every batch whole.
func checkBatches(t *testing.T, dir string, acknowledged map[string]bool) {
	t.Helper()
	s, err := badgerstore.Open(badgerstore.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	snap := s.Snapshot()
	defer snap.Close()
	size, seen := map[string]int{}, map[string]int{}
	err = snap.Scan(nil, nil, func(key, value []byte) error {
		name, index, _ := strings.Cut(string(key), "#")
		seen[name]++
		if index == "00" {
			size[name] = int(value[0])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range seen {
		if n != size[name] {
			t.Errorf("batch %s is there in part: %d writes of %d", name, n, size[name])
		}
	}
	for name := range acknowledged {
		if seen[name] == 0 {
			t.Errorf("batch %s was acknowledged and is gone", name)
		}
	}
}

// TestKillChild is the process that TestKill kills.
func TestKillChild(t *testing.T) {
	dir := os.Getenv(killDir)
	if dir == "" {
		t.Skip("runs as the child of TestKill")
	}
	s, err := badgerstore.Open(badgerstore.Options{
		Dir:        dir,
		Durability: badgerstore.Durability(os.Getenv(killDurability)),
	})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for c := range killCommitters {
		group.Go(func() {
			for n := range 1_000_000 { // bounded only in case nobody kills it
				name := fmt.Sprintf("%s/%d/%06d", os.Getenv(killRound), c, n)
				if err := s.Commit(killBatch(name)); err != nil {
					t.Errorf("Commit: %v", err)
					return
				}
				fmt.Printf("committed %s\n", name)
			}
		})
	}
	group.Wait()
}

// killBatch has 1 to 60 writes of up to 4 KiB, now and then one for the value
// log. Its first value tells how many writes there are.
func killBatch(name string) *store.Batch {
	writes := 1 + rand.IntN(60)
	var b store.Batch
	for i := range writes {
		value := make([]byte, 1+rand.IntN(4<<10))
		if i == 1 && rand.IntN(100) == 0 {
			value = make([]byte, 1<<20)
		}
		value[0] = byte(writes)
		b.Put(fmt.Appendf(nil, "%s#%02d", name, i), value)
	}
	return &b
}
