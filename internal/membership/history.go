package membership

import (
	"math"
	"time"
)

// samples is how many of the last gaps between heartbeats are kept.
const samples = 128

// history is the rhythm of one member's heartbeats.
type history struct {
	last         time.Time
	gaps         [samples]float64 // seconds; a ring
	n, next      int
	sum, squares float64
}

// beat notes a heartbeat.
func (h *history) beat(now time.Time) {
	if !h.last.IsZero() {
		h.add(now.Sub(h.last).Seconds())
	}
	h.last = now
}

func (h *history) add(gap float64) {
	if h.n == samples {
		old := h.gaps[h.next]
		h.sum -= old
		h.squares -= old * old
	} else {
		h.n++
	}
	h.gaps[h.next] = gap
	h.next = (h.next + 1) % samples
	h.sum += gap
	h.squares += gap * gap
}

// phi returns how suspicious the silence since the last heartbeat is: at phi, a
// gap as long as this one or longer has the probability 10^-phi. The gaps are
// taken as normally distributed, as in the paper; until there are some, as at
// the interval that all members keep.
func (h *history) phi(now time.Time, c Config) float64 {
	mean, deviation := c.Interval.Seconds(), c.Slack.Seconds()
	if n := float64(h.n); n > 0 {
		mean = max(mean, h.sum/n)
		deviation = max(deviation, math.Sqrt(max(0, h.squares/n-(h.sum/n)*(h.sum/n))))
	}
	z := (now.Sub(h.last).Seconds() - mean) / max(deviation, 1e-3)
	return -log10Tail(z)
}

// log10Tail returns the decimal logarithm of the probability that a standard
// normal variable exceeds z.
func log10Tail(z float64) float64 {
	if p := math.Erfc(z/math.Sqrt2) / 2; p > 1e-300 {
		return math.Log10(p)
	}
	// Far out, where the probability is less than a float64 can be: the first
	// term of its asymptotic series.
	return -(z*z/2 + math.Log(z*math.Sqrt(2*math.Pi))) / math.Ln10
}
