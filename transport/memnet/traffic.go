package memnet

import "strings"

// Traffic counts messages and the bytes of their payloads. An answer counts
// under the subject of its request.
type Traffic struct {
	// Messages and Bytes were sent: each publication, request and answer once,
	// however many received it.
	Messages, Bytes uint64
	// CrossedMessages and CrossedBytes arrived in another region than they
	// were sent from; a publication counts once per region and arrival.
	CrossedMessages, CrossedBytes uint64
	// Lost is the number of messages that a link or a cut lost on the way into
	// another region.
	Lost uint64
	// Dropped is the number of messages that found a subscription's queue full.
	Dropped uint64
	// Refused is the number of requests answered with ErrBusy.
	Refused uint64
}

// Traffic returns the sums since the start over all subjects that begin with
// prefix; all there are if it is empty.
func (n *Network) Traffic(prefix string) Traffic {
	n.mu.Lock()
	defer n.mu.Unlock()
	var sum Traffic
	for subject, t := range n.traffic {
		if !strings.HasPrefix(subject, prefix) {
			continue
		}
		sum.Messages += t.Messages
		sum.Bytes += t.Bytes
		sum.CrossedMessages += t.CrossedMessages
		sum.CrossedBytes += t.CrossedBytes
		sum.Lost += t.Lost
		sum.Dropped += t.Dropped
		sum.Refused += t.Refused
	}
	return sum
}

// count returns the counters of a subject. n.mu is held.
func (n *Network) count(subject string) *Traffic {
	t := n.traffic[subject]
	if t == nil {
		t = &Traffic{}
		n.traffic[subject] = t
	}
	return t
}

func (t *Traffic) sent(bytes int) {
	t.Messages++
	t.Bytes += uint64(bytes)
}
