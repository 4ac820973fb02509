package nats

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/atolldb/atoll/transport"
)

// The codes of failed requests on the wire, after those of HTTP.
const (
	codeTooLarge = "413"
	codeBusy     = "429"
	codeFailed   = "500"
	codeClosed   = "503"
)

// failure is the message that tells a requester of err. Its header holds one
// short line for tools, its payload the text.
func failure(code string, err error) *natsgo.Msg {
	text := err.Error()
	if len(text) > transport.MaxErrorBytes {
		text = strings.ToValidUTF8(text[:transport.MaxErrorBytes], "")
	}
	line := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	if len(line) > 200 {
		line = strings.ToValidUTF8(line[:200], "")
	}
	return &natsgo.Msg{
		Header: natsgo.Header{micro.ErrorHeader: {line}, micro.ErrorCodeHeader: {code}},
		Data:   []byte(text),
	}
}

// outcome is what a requester gets of the message that came back.
func outcome(reply *natsgo.Msg) ([]byte, error) {
	code := reply.Header.Get(micro.ErrorCodeHeader)
	switch code {
	case "":
		return reply.Data, nil
	case codeBusy:
		return nil, transport.ErrBusy
	case codeTooLarge:
		return nil, fmt.Errorf("%w: the answer", transport.ErrTooLarge)
	case codeClosed:
		return nil, transport.ErrNoResponders
	}
	text := string(reply.Data)
	if text == "" { // of a server that is not ours
		text = code + " " + reply.Header.Get(micro.ErrorHeader)
	}
	return nil, errors.New(strings.ToValidUTF8(text, "\uFFFD"))
}

// meaning says in words of the contract what an error of the client library
// means while the connection has not been closed by its owner.
func meaning(err error) error {
	for _, m := range []struct{ theirs, ours error }{
		{natsgo.ErrNoResponders, transport.ErrNoResponders},
		{natsgo.ErrMaxPayload, transport.ErrTooLarge},
		{natsgo.ErrBadSubject, transport.ErrBadSubject},
		{natsgo.ErrReconnectBufExceeded, transport.ErrUnreachable},
		{natsgo.ErrConnectionReconnecting, transport.ErrUnreachable},
		// These two come before a request is sent, or while it is under way.
		{natsgo.ErrDisconnected, transport.ErrInterrupted},
		{natsgo.ErrConnectionClosed, transport.ErrInterrupted},
		{natsgo.ErrConnectionDraining, transport.ErrUnreachable},
	} {
		if errors.Is(err, m.theirs) {
			return m.ours
		}
	}
	return err
}
