package server

import (
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/internal/keys"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/replica"
	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/nats"
)

// A member with a certificate is locked: it lets in those only who prove who they
// are. Members do so to each other by their certificates and what follows from
// the cluster's secret, users by the keys that stand in the table of users, who
// looks at metrics by a token. Without one a member is open to everybody who
// reaches it, and listens on loopback only, unless it is told that this is meant.

// recheckInterval is how soon a user who is no more is cut off.
const recheckInterval = time.Second

// linkPassword and HTTPToken are for what the secret of the cluster gives
// passwords: members among each other, and who asks a member by HTTP.
const (
	linkPassword = "links"
	HTTPToken    = "http"
)

// locked says whether the member lets in only those who prove who they are.
func (c Config) locked() bool { return c.TLSCert != "" }

func (c Config) certificates() keys.Files {
	return keys.Files{CA: c.TLSCA, Cert: c.TLSCert, Key: c.TLSKey}
}

// resolveSecret reads the secret from its file.
func (c Config) resolveSecret() (Config, error) {
	if c.SecretFile == "" {
		return c, nil
	}
	if c.Secret != "" {
		return c, fmt.Errorf("%w: the secret is given, and a file with the secret besides; take one", ErrConfig)
	}
	secret, err := keys.ReadSecret(c.SecretFile)
	if err != nil {
		return c, fmt.Errorf("%w: the file with the secret cannot be used: %w", ErrConfig, err)
	}
	c.Secret = string(secret)
	return c, nil
}

// checkLock checks what locks the member, and that it is locked if others than
// this machine reach it.
func (c Config) checkLock() error {
	files := 0
	for _, path := range []string{c.TLSCA, c.TLSCert, c.TLSKey} {
		if path != "" {
			files++
		}
	}
	switch {
	case files != 0 && files != 3:
		return fmt.Errorf("%w: tls_ca, tls_cert and tls_key go together; %d of them are given", ErrConfig, files)
	case c.locked() && c.Insecure:
		return fmt.Errorf("%w: a certificate is given, and insecure besides, which is for a member without one", ErrConfig)
	case c.locked() && c.Secret == "":
		return fmt.Errorf("%w: a member with a certificate needs the cluster's secret, too: secret_file names the file", ErrConfig)
	case c.locked():
		if err := keys.Secret(c.Secret).Check(); err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
		if err := c.certificates().Check(time.Now()); err != nil {
			return fmt.Errorf("%w: the certificates cannot be used: %w", ErrConfig, err)
		}
		return nil
	case c.Insecure:
		return nil
	}
	for _, address := range []string{c.Listen.Client, c.Listen.Route, c.Listen.Gateway, c.Listen.HTTP} {
		if host, _, err := net.SplitHostPort(address); err == nil && !isLoopback(host) {
			return fmt.Errorf("%w: on %s others than this machine would get in without a key: give tls_ca, tls_cert, tls_key and secret_file, which crdtctl certs makes, or say insecure", ErrConfig, address)
		}
	}
	return nil
}

// isLoopback says whether only this machine reaches a host.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// lock returns what lets members and users in; nil: everybody is.
func (c Config) lock(engine *replica.Replica) (*nats.Lock, error) {
	if !c.locked() {
		return nil, nil
	}
	secret := keys.Secret(c.Secret)
	root, err := secret.Key(keys.Root)
	if err != nil {
		return nil, err
	}
	member, err := secret.Key(keys.Member)
	if err != nil {
		return nil, err
	}
	l := &nats.Lock{
		Member: member.Public(),
		User: func(key string) (string, error) {
			if key == root.Public() {
				return replica.Root, nil
			}
			return engine.UserOf(key)
		},
	}
	if l.Password, err = secret.Password(linkPassword); err != nil {
		return nil, err
	}
	if l.Clients, err = c.certificates().Clients(); err != nil {
		return nil, err
	}
	l.Members, err = c.certificates().Members()
	return l, err
}

// asMember returns how a member connects to another one as a client does.
func (c Config) asMember(servers []string) (client.Options, error) {
	o := client.Options{Servers: servers, Name: "joining", User: transport.Trusted}
	if !c.locked() {
		return o, nil
	}
	member, err := keys.Secret(c.Secret).Key(keys.Member)
	if err != nil {
		return o, err
	}
	o.Login = member
	o.TLS, err = c.certificates().Members()
	return o, err
}

// watchUsers cuts off users who are no more.
func (s *Server) watchUsers() {
	ticks := time.NewTicker(recheckInterval)
	defer ticks.Stop()
	var before *pb.Users
	for {
		select {
		case <-ticks.C:
		case <-s.closing:
			return
		}
		now, err := s.replica.Users()
		if err != nil || proto.Equal(now, before) {
			continue
		}
		if cut, err := s.network.Recheck(); err != nil {
			s.log.Error("who is no user any more may still be connected", "error", err)
			continue
		} else if cut > 0 {
			s.log.Info("users were cut off: their keys are theirs no more", "connections", cut)
		}
		before = now
	}
}

// Denied returns how often somebody was not let in at this member, or did what it
// may not do.
func (s *Server) Denied() uint64 {
	n := s.network.Denied()
	if s.door != nil {
		n += s.door.denied.Load()
	}
	return n
}

// errNoToken says that a request by HTTP does not prove who asks.
var errNoToken = errors.New("it takes the token of the cluster, as Authorization: Bearer TOKEN")

// lockHTTP has an HTTP server speak TLS, and ask for the token. What it returns
// accepts connections in place of the listener.
func (c Config) lockHTTP(d *door, listener net.Listener) (net.Listener, error) {
	if !c.locked() {
		return listener, nil
	}
	token, err := keys.Secret(c.Secret).Password(HTTPToken)
	if err != nil {
		return nil, err
	}
	d.token = token
	certificates, err := c.certificates().Clients()
	if err != nil {
		return nil, err
	}
	return tls.NewListener(listener, certificates), nil
}

// guarded asks for the token, if there is one.
func (d *door) guarded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		bears := strings.EqualFold(scheme, "Bearer")
		if d.token == "" || bears && subtle.ConstantTimeCompare([]byte(given), []byte(d.token)) == 1 {
			h.ServeHTTP(w, r)
			return
		}
		d.denied.Add(1)
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		if repeated, due := d.refusals.Due(host, time.Now()); due {
			d.log.Warn("a request by HTTP was refused", "of", host, "error", errNoToken, "repeated", repeated)
		}
		w.Header().Set("WWW-Authenticate", "Bearer")
		w.Header().Set("Connection", "close")
		say(w, http.StatusUnauthorized, errNoToken.Error())
	})
}
