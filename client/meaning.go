package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/nats"
)

// failure is an error of the transport in words that a caller knows. What it
// was to the transport can be matched, and is not shown.
type failure struct {
	kind  error // one of the package's errors
	words string
	cause error
}

// Error returns the words.
func (f *failure) Error() string { return f.kind.Error() + ": " + f.words }

// Unwrap returns what the failure can be matched with.
func (f *failure) Unwrap() []error { return []error{f.kind, f.cause} }

// call is what must be known of a request or a question to say what its
// failure means.
type call struct {
	member  string        // whom it is for; empty: any member
	reads   bool          // it changes nothing
	timeout time.Duration // what it was given; 0: not known
}

// callOf describes a call that begins now.
func callOf(ctx context.Context, member string, reads bool) call {
	deadline, _ := ctx.Deadline() // bound has seen to it
	return call{member, reads, time.Until(deadline).Round(time.Millisecond)}
}

// meaning says what an error of the transport means to a caller.
func (c call) meaning(err error) error {
	if errors.Is(err, ErrUnreachable) || errors.Is(err, ErrUnavailable) {
		return err
	}
	lost := ErrOutcomeUnknown // with the connection, while a member may have been at work
	if c.reads {
		lost = ErrUnreachable
	}
	tooLarge := fmt.Sprintf("too large for one message, which has up to %d MiB; ", transport.MaxMessageBytes>>20)
	if c.reads {
		tooLarge += "ask for less at once"
	} else {
		tooLarge += "send it in parts"
	}
	for _, m := range []struct {
		theirs, kind error
		words        string
	}{
		{transport.ErrNoResponders, ErrUnreachable, c.silence()},
		{transport.ErrUnreachable, ErrUnreachable, "not connected to any member"},
		{transport.ErrTooLarge, ErrInvalid, tooLarge},
		{transport.ErrBadSubject, ErrInvalid, fmt.Sprintf("no member can be named %.64q", c.member)},
		{transport.ErrBusy, ErrBusy, "it has too many requests under way"},
		{transport.ErrInterrupted, lost, "the connection was lost before the answer came"},
		{transport.ErrClosed, lost, "closed before the answer came"},
		{context.DeadlineExceeded, lost, c.late()},
		{context.Canceled, lost, "canceled before the answer came"},
	} {
		if errors.Is(err, m.theirs) {
			return &failure{m.kind, m.words, err}
		}
	}
	return &failure{ErrUnavailable, spoken(err), err}
}

// silence says that nobody is there to answer.
func (c call) silence() string {
	if c.member == "" {
		return "no member answers"
	}
	return fmt.Sprintf("member %.64s does not answer", c.member)
}

// late says that no answer came in time.
func (c call) late() string {
	within := "in time"
	if c.timeout > 0 {
		within = fmt.Sprint("within ", c.timeout)
	}
	if c.member == "" {
		return "no member answered " + within
	}
	return fmt.Sprintf("member %.64s did not answer %s", c.member, within)
}

// spoken returns the text of an error without the subject of the request.
func spoken(err error) string {
	text := err.Error()
	if _, rest, ok := strings.Cut(text, `": `); ok && strings.HasPrefix(text, `request "`) {
		return rest
	}
	return text
}

// unconnected says what a failed attempt to connect means: that nobody
// answered, or that the addresses are none.
func unconnected(servers []string, err error) error {
	switch {
	case errors.Is(err, ErrUnavailable):
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	case errors.Is(err, ErrForbidden):
		return err
	case errors.Is(err, nats.ErrRefused):
		_, why, _ := strings.Cut(err.Error(), nats.ErrRefused.Error()+": ")
		return &failure{ErrForbidden, "the member at " + withoutPasswords(servers) + " " + why, err}
	}
	for _, nobody := range []error{
		transport.ErrUnreachable, transport.ErrNoResponders, transport.ErrBusy, transport.ErrInterrupted,
		context.DeadlineExceeded, context.Canceled, ErrUnreachable,
	} {
		if errors.Is(err, nobody) {
			return &failure{ErrUnreachable, "no member answers at " + withoutPasswords(servers) + why(err), err}
		}
	}
	return fmt.Errorf("%w: %s", ErrInvalid, strings.TrimPrefix(err.Error(), "nats: "))
}

// withoutPasswords lists servers as they may be shown.
func withoutPasswords(servers []string) string {
	shown := make([]string, len(servers))
	for i, server := range servers {
		shown[i] = server
		if u, err := address(server); err == nil && u.User != nil {
			shown[i] = u.Host
		}
	}
	return strings.Join(shown, " or ")
}

// address reads the address of a server, with or without a scheme.
func address(server string) (*url.URL, error) {
	if !strings.Contains(server, "://") {
		server = "nats://" + server
	}
	return url.Parse(server)
}

// why says what is known of why nobody answers at an address.
func why(err error) string {
	var unresolved *net.DNSError
	switch {
	case errors.As(err, &unresolved):
		return fmt.Sprintf("; the name %.256q cannot be resolved", unresolved.Name)
	case errors.Is(err, transport.ErrNoResponders):
		return "; what listens there has no member"
	case errors.Is(err, transport.ErrBusy):
		return "; what listens there has too many requests under way"
	}
	return ""
}
