package membership

import (
	"cmp"
	"fmt"
	"time"
)

// Config sets the pace of a Detector and what it takes for silence.
type Config struct {
	// Interval is the time between two heartbeats of a member, the same in the
	// whole cluster. Default 250 ms.
	Interval time.Duration
	// Phi is the level from which a member is suspect: at 8, a heartbeat that
	// late comes once in 10^8 times, if the rhythm is what it was. Default 8.
	Phi float64
	// Slack is the least standard deviation that is assumed of a rhythm, so
	// that one which was very regular does not make for hasty suspicions.
	// Default 150 ms.
	Slack time.Duration
	// Patience is how long a member must have been silent before it can be
	// down, whatever others say. Default 3 s.
	Patience time.Duration
}

// WithDefaults returns the configuration with a default in place of each zero.
func (c Config) WithDefaults() Config {
	c.Interval = cmp.Or(c.Interval, 250*time.Millisecond)
	c.Phi = cmp.Or(c.Phi, 8)
	c.Slack = cmp.Or(c.Slack, 150*time.Millisecond)
	c.Patience = cmp.Or(c.Patience, 3*time.Second)
	return c
}

// Validate says what is wrong with a configuration; zero values stand for the
// defaults.
func (c Config) Validate() error {
	switch d := c.WithDefaults(); {
	case d.Interval < 10*time.Millisecond || d.Interval > time.Minute:
		return fmt.Errorf("membership: an interval of %v between heartbeats; it takes 10ms to 1m", d.Interval)
	case !(d.Phi >= 1 && d.Phi <= 100): // NaN, too
		return fmt.Errorf("membership: a phi threshold of %v; it takes 1 to 100", d.Phi)
	case d.Slack < 0:
		return fmt.Errorf("membership: a slack of %v; it takes 0 or more", d.Slack)
	case d.Patience < d.Interval:
		return fmt.Errorf("membership: a member down after %v; it takes an interval of heartbeats at least, which is %v", d.Patience, d.Interval)
	}
	return nil
}
