package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"

	natsgo "github.com/nats-io/nats.go"

	"github.com/atolldb/atoll/transport"
)

// ErrRefused says that a server which is there does not let this end in: the
// text says why.
var ErrRefused = errors.New("refused")

// AttachOptions configures Attach. Region, Name and Servers are required.
type AttachOptions struct {
	// Region is the name of the member's region and Name its own, as in Options.
	Region, Name string
	// Servers are those of the member's region, in the order of preference:
	// nats://HOST:PORT, tls://HOST:PORT or HOST:PORT, with USER:PASSWORD@ or
	// TOKEN@ before the host if that is how to log in.
	Servers []string
	// Credentials is a file with a JWT and the seed that belongs to it, as nsc
	// writes it; Nkey is one with the seed of an nkey. At most one is set.
	Credentials, Nkey string
	// CA is a file with the certificates of those who vouch for the servers;
	// the system's if empty. Certificate and Key are files with what the member
	// shows of itself.
	CA, Certificate, Key string
	// MaxInFlight, Logger and Lost are as in Options.
	MaxInFlight int
	Logger      *slog.Logger
	Lost        func(reason string)
}

// Attach connects a member to servers that there are, instead of starting one.
// The Server that it returns listens nowhere, and knows nothing of links.
//
// If none of the servers is in reach, that is logged, and tried again until
// Close: meanwhile Publish and Request fail with transport.ErrUnreachable. A
// server that is there and does not let the member in, or takes only messages
// that are too small, is an error, which is ErrRefused.
func Attach(ctx context.Context, o AttachOptions) (*Server, error) {
	options, err := o.options()
	if err != nil {
		return nil, err
	}
	defaults := Options{MaxInFlight: o.MaxInFlight, Logger: o.Logger, Lost: o.Lost}.withDefaults()
	c := newConn(o.Region+"."+o.Name, defaults.MaxInFlight, defaults.Logger, defaults.Lost)
	done := make(chan error, 1)
	go func() { done <- c.attach(listed(o.Servers), options) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		go func() { // it ends by its timeouts
			<-done
			_ = c.Close()
		}()
		return nil, fmt.Errorf("nats: connect to %s: %w", hosts(o.Servers), ctx.Err())
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("nats: connect to %s: %w: %w", hosts(o.Servers), ErrRefused, err)
	}
	return &Server{Conn: c}, nil
}

// attach opens the two connections of a member.
func (c *Conn) attach(servers string, options []natsgo.Option) error {
	for _, uses := range []uses{{events: true}, {requests: true}} {
		err := c.connect(servers, uses, options...)
		if isAway(err) {
			c.log.Warn("no NATS server is in reach; the member goes on trying", "error", err)
			err = c.connect(servers, uses, append(slices.Clone(options), natsgo.RetryOnFailedConnect(true),
				natsgo.ConnectHandler(func(nc *natsgo.Conn) { c.arrived(nc, uses) }))...)
		}
		if err != nil {
			return err
		}
	}
	if c.requests.IsConnected() {
		return takesMessages(c.requests)
	}
	return nil
}

// arrived takes in that the first server was met after all.
func (c *Conn) arrived(nc *natsgo.Conn, uses uses) {
	if err := takesMessages(nc); err != nil {
		c.log.Error("messages of this member may be refused", "error", err)
	}
	c.reconnected(uses)
}

// isAway says of an error of connecting that a server was not met at all.
func isAway(err error) bool {
	var dialing *net.OpError
	return errors.Is(err, natsgo.ErrNoServers) || errors.Is(err, natsgo.ErrTimeout) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &dialing) && dialing.Op == "dial"
}

// takesMessages says whether a server takes all that members send.
func takesMessages(nc *natsgo.Conn) error {
	if n := nc.MaxPayload(); n < transport.MaxMessageBytes {
		return fmt.Errorf("the server takes messages of %d bytes; set its max_payload to %d", n, transport.MaxMessageBytes)
	}
	return nil
}

// CheckAttach says what is wrong with the options, and with the files that they
// name.
func CheckAttach(o AttachOptions) error {
	_, err := o.options()
	return err
}

// options checks what there is to check without the servers, and returns what
// the client library is told.
func (o AttachOptions) options() ([]natsgo.Option, error) {
	for _, check := range []struct{ field, name string }{{"Region", o.Region}, {"Name", o.Name}} {
		if err := checkName(check.field, check.name); err != nil {
			return nil, err
		}
	}
	if len(o.Servers) == 0 {
		return nil, errors.New("nats: no server to connect to: give at least one host:port")
	}
	withUser := false
	for _, text := range o.Servers {
		u, err := serverURL(text)
		if err != nil {
			return nil, err
		}
		withUser = withUser || u.User != nil
	}
	switch {
	case o.MaxInFlight < 0:
		return nil, fmt.Errorf("nats: MaxInFlight: %d must not be negative", o.MaxInFlight)
	case o.Credentials != "" && o.Nkey != "":
		return nil, errors.New("nats: credentials and an nkey are two ways to log in; take one")
	case withUser && o.Credentials+o.Nkey != "":
		return nil, errors.New("nats: a server has a user or a token before its host, besides credentials or an nkey; take one")
	case (o.Certificate == "") != (o.Key == ""):
		return nil, errors.New("nats: a certificate and its key go together; only one of them is given")
	}
	options := []natsgo.Option{
		natsgo.DontRandomize(), natsgo.Timeout(dialTimeout), natsgo.ReconnectWait(remoteReconnectWait),
	}
	for _, file := range []struct {
		what, path string
		option     func(path string) (natsgo.Option, error)
	}{
		{"credentials", o.Credentials, credentials},
		{"nkey", o.Nkey, natsgo.NkeyOptionFromSeed},
		{"CA", o.CA, func(path string) (natsgo.Option, error) { return natsgo.RootCAs(path), nil }},
		{"certificate", o.Certificate, func(path string) (natsgo.Option, error) { return natsgo.ClientCert(path, o.Key), nil }},
	} {
		if file.path == "" {
			continue
		}
		option, err := fromFile(file.what, file.path, file.option)
		if err != nil {
			return nil, err
		}
		options = append(options, option)
	}
	return options, nil
}

// credentials logs in with the JWT and the seed in a file.
func credentials(path string) (natsgo.Option, error) { return natsgo.UserCredentials(path), nil }

// fromFile returns an option that takes a file, after a try of it.
func fromFile(what, path string, option func(path string) (natsgo.Option, error)) (natsgo.Option, error) {
	o, err := option(path)
	if err == nil {
		err = tryOption(o)
	}
	if err != nil {
		return nil, fmt.Errorf("nats: the %s in %s cannot be used: %s", what, path, strings.TrimPrefix(err.Error(), "nats: "))
	}
	return o, nil
}

// tryOption applies an option, and has it read what it would read when it
// connects.
func tryOption(option natsgo.Option) error {
	var o natsgo.Options
	if err := option(&o); err != nil || o.UserJWT == nil {
		return err
	}
	if _, err := o.UserJWT(); err != nil {
		return err
	}
	_, err := o.SignatureCB([]byte("nonce"))
	return err
}

// serverURL reads the address of a server.
func serverURL(text string) (*url.URL, error) {
	full := text
	if !strings.Contains(text, "://") {
		full = "nats://" + text
	}
	u, err := url.Parse(full)
	if err != nil || strings.Contains(u.Path+u.RawQuery+u.Fragment, "@") { // any part of it may be of a password
		return nil, errors.New("nats: a server is not host:port, nats://host:port or tls://host:port")
	}
	if u.Scheme != "nats" && u.Scheme != "tls" || u.Path != "" || u.RawQuery != "" || strings.Contains(u.Host, ",") {
		return nil, fmt.Errorf("nats: server %q is not host:port, nats://host:port or tls://host:port", u.Host)
	}
	_, _, err = splitAddress("server", u.Host, 1)
	return u, err
}

// listed returns servers as the client library takes them, with commas between: one
// that is in a password is written in the other way that URLs have.
func listed(urls []string) string {
	escaped := make([]string, len(urls))
	for i, text := range urls {
		escaped[i] = strings.ReplaceAll(text, ",", "%2C")
	}
	return strings.Join(escaped, ",")
}

// hosts lists servers without passwords.
func hosts(urls []string) string {
	var hosts []string
	for _, text := range urls {
		if u, err := serverURL(text); err == nil {
			hosts = append(hosts, u.Host)
		}
	}
	return strings.Join(hosts, ", ")
}
