package membership

import (
	"math"
	"testing"
	"time"
)

// The tail of the normal distribution, as tables have it.
func TestTail(t *testing.T) {
	for z, p := range map[float64]float64{
		-3: 0.9986501, 0: 0.5, 1: 0.1586553, 3: 0.001349898, 5: 2.866516e-7, 10: 7.619853e-24, 30: 4.906714e-198,
	} {
		if got := log10Tail(z); math.Abs(got-math.Log10(p)) > 1e-6 {
			t.Errorf("log10 of the tail from %v is %v, want %v", z, got, math.Log10(p))
		}
	}
	// Beyond what a float64 can hold: 10^-2173.871 at 100.
	if got := log10Tail(100); math.Abs(got+2173.871) > 0.01 {
		t.Errorf("log10 of the tail from 100 is %v", got)
	}
}

// Phi follows the rhythm: a silence that is suspicious of a regular member is
// not of an irregular one.
func TestPhi(t *testing.T) {
	c := Config{}.WithDefaults()
	regular, irregular := &history{}, &history{}
	now := time.Unix(1e9, 0)
	for i := range 3 * samples {
		regular.beat(now)
		if i%8 < 2 {
			irregular.beat(now)
		}
		now = now.Add(c.Interval)
	}
	silence := now.Add(1200 * time.Millisecond)
	if a, b := regular.phi(silence, c), irregular.phi(silence, c); a < c.Phi || b > 3 {
		t.Errorf("phi is %v of the regular, %v of the irregular", a, b)
	}
	last := 0.0
	for wait := time.Duration(0); wait < time.Minute; wait += 100 * time.Millisecond {
		phi := regular.phi(now.Add(wait), c)
		if phi < last || math.IsNaN(phi) || math.IsInf(phi, 0) {
			t.Fatalf("phi after %v is %v, before it was %v", wait, phi, last)
		}
		last = phi
	}
}

// Old gaps are forgotten, and sums stay right.
func TestHistoryForgets(t *testing.T) {
	h := &history{}
	now := time.Unix(1e9, 0)
	for range 10 * samples {
		now = now.Add(10 * time.Second)
		h.beat(now)
	}
	for range samples {
		now = now.Add(time.Second)
		h.beat(now)
	}
	if mean := h.sum / float64(h.n); h.n != samples || math.Abs(mean-1) > 1e-9 || math.Abs(h.squares-samples) > 1e-6 {
		t.Errorf("%d gaps, mean %v, squares %v", h.n, mean, h.squares)
	}
}
