package quiet

import (
	"sync"
	"time"
)

// Pause is the time between two notes about the same, and maxAbout of how much
// is remembered.
const (
	Pause    = time.Minute
	maxAbout = 256
)

// Notes remembers of what was told lately. The zero value is ready, and may be
// used concurrently.
type Notes struct {
	mu    sync.Mutex
	about map[string]*note
}

type note struct {
	told     time.Time
	repeated int // since
}

// Due says whether it is time to tell of something, and how often it happened
// since it was last told.
func (n *Notes) Due(about string, now time.Time) (repeated int, due bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	last := n.about[about]
	if last != nil {
		if now.Sub(last.told).Abs() < Pause { // who looked at the clock first may come second
			last.repeated++
			return 0, false
		}
		repeated = last.repeated
	}
	if n.about == nil || len(n.about) >= maxAbout {
		n.about = map[string]*note{}
	}
	n.about[about] = &note{told: now}
	return repeated, true
}
