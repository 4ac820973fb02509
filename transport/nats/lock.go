package nats

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/atolldb/atoll/transport"
)

// The accounts of a locked server. Members are in one, applications in the other:
// what is published in one is not heard in the other. Applications reach the
// requests of users, as services that the members' account exports.
const (
	stateAccount       = "STATE"
	applicationAccount = "APP"
)

// Lock lets in those to a server who prove who they are, and nobody else.
type Lock struct {
	// Clients is how the server shows itself to clients, Members how members show
	// themselves to each other. Both are required.
	Clients, Members *tls.Config
	// Password is what members say to each other, besides.
	Password string
	// Member is the login of members where they come as clients: of this one at
	// its own server, and of those who are about to join.
	Member Login
	// User returns the name of the user to whom a public key belongs, "" if there
	// is none. It must be quick.
	User func(key string) (string, error)
}

// Login is how somebody proves who it is: by an nkey, whose public part Key is.
type Login struct {
	Key  string
	Sign func(nonce []byte) ([]byte, error)
}

func (l Login) option() natsgo.Option { return natsgo.Nkey(l.Key, l.Sign) }

func (l *Lock) validate() error {
	if l.Clients == nil || l.Members == nil || l.Password == "" || l.Member.Sign == nil || l.User == nil {
		return errors.New("nats: Lock: a field is not set")
	}
	return nil
}

// apply has a server let in only those who prove who they are. What it returns
// must be told the accounts before the server starts.
func (l *Lock) apply(o *server.Options) (*guard, error) {
	g := &guard{lock: l}
	members, applications := server.NewAccount(stateAccount), server.NewAccount(applicationAccount)
	for _, subject := range transport.OfUsers(transport.Any) {
		if err := members.AddServiceExport(subject, []*server.Account{applications}); err != nil {
			return nil, err
		}
		if err := applications.AddServiceImport(members, subject, subject); err != nil {
			return nil, err
		}
	}
	o.Accounts = []*server.Account{members, applications}
	o.CustomClientAuthentication, o.AlwaysEnableNonce = g, true
	o.TLSConfig, o.Cluster.TLSConfig, o.Gateway.TLSConfig = l.Clients, l.Members, l.Members.Clone()
	o.Cluster.Username, o.Cluster.Password = memberUser, l.Password
	o.Gateway.Username, o.Gateway.Password = memberUser, l.Password
	log := url.UserPassword(memberUser, l.Password)
	for _, u := range o.Routes {
		u.User = log
	}
	for _, remote := range o.Gateway.Gateways {
		remote.TLSConfig = l.Members.Clone()
		for _, u := range remote.URLs {
			u.User = log
		}
	}
	return g, nil
}

// memberUser is the name of members on routes and gateways.
const memberUser = "member"

// guard decides who is let in as a client.
type guard struct {
	lock                  *Lock
	members, applications *server.Account
	names                 sync.Map // of users, by the keys with which they came
}

// of tells the guard the accounts of a server, which makes its own of those in
// its options.
func (g *guard) of(s *server.Server) (err error) {
	if g.members, err = s.LookupAccount(stateAccount); err == nil {
		g.applications, err = s.LookupAccount(applicationAccount)
	}
	return err
}

// Check implements server.Authentication.
func (g *guard) Check(c server.ClientAuthentication) bool {
	o := c.GetOpts()
	if !signed(o.Nkey, o.Sig, c.GetNonce()) {
		return false
	}
	if o.Nkey == g.lock.Member.Key {
		c.RegisterUser(&server.User{Username: memberUser, Account: g.members})
		return true
	}
	name, err := g.lock.User(o.Nkey)
	if err != nil || name == "" {
		return false
	}
	g.names.Store(o.Nkey, name)
	c.RegisterUser(&server.User{
		Username: name, Account: g.applications,
		Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: transport.OfUsers(name)},
			Subscribe: &server.SubjectPermission{Allow: []string{inbox(name) + ".>"}},
		},
	})
	return true
}

// signed says whether the owner of a public key has signed a nonce.
func signed(key, signature string, nonce []byte) bool {
	if !nkeys.IsValidPublicUserKey(key) || len(nonce) == 0 {
		return false
	}
	sig, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil {
		return false
	}
	public, err := nkeys.FromPublicKey(key)
	return err == nil && public.Verify(nonce, sig) == nil
}

// inbox returns the prefix of the subjects on which a user gets answers, which
// are for nobody else's eyes.
func inbox(user string) string { return "_INBOX." + user }

// Recheck cuts off clients whose key is no longer that of their user, and returns
// how many those were.
func (s *Server) Recheck() (int, error) {
	if s.guard == nil {
		return 0, nil
	}
	cut := 0
	for offset, total := 0, 1; offset < total; {
		page, err := s.server.Connz(&server.ConnzOptions{Username: true, Offset: offset, Account: applicationAccount})
		if err != nil {
			return cut, fmt.Errorf("nats: clients: %w", err)
		}
		for _, c := range page.Conns {
			key := c.AuthorizedUser // that of an nkey
			was, _ := s.guard.names.Load(key)
			if now, err := s.guard.lock.User(key); err == nil && now != was && s.server.DisconnectClientByID(c.Cid) == nil {
				cut++
			}
		}
		offset, total = offset+max(1, len(page.Conns)), page.Total
	}
	return cut, nil
}
