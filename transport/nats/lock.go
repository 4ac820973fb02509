package nats

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
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
	// Member is the public key of members who come as clients, because they are
	// about to join: they may ask, as users do.
	Member string
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
	if l.Clients == nil || l.Members == nil || l.Password == "" || l.Member == "" || l.User == nil {
		return errors.New("nats: Lock: a field is not set")
	}
	return nil
}

// apply has a server let in only those who prove who they are. What it returns
// must be told the accounts before the server starts.
func (l *Lock) apply(o *server.Options) (*guard, error) {
	own, err := newLogin()
	if err != nil {
		return nil, err
	}
	g := &guard{lock: l, own: own}
	var limited server.Options // there is no other way to limit an account
	if err := limited.ProcessConfigString(fmt.Sprintf("accounts {%s {limits {max_subscriptions: %d}}}", applicationAccount, maxUserSubscriptions)); err != nil {
		return nil, err
	}
	members, applications := server.NewAccount(stateAccount), limited.Accounts[0]
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

const (
	// memberUser is the name of members on routes and gateways.
	memberUser = "member"
	// maxUserSubscriptions bounds those of a user's connection, of which each is
	// known to every member. A client has one, for all answers.
	maxUserSubscriptions = 16
)

// newLogin returns a login that nobody else has.
func newLogin() (Login, error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return Login{}, err
	}
	key, err := pair.PublicKey()
	return Login{key, pair.Sign}, err
}

// guard decides who is let in as a client.
type guard struct {
	lock                  *Lock
	own                   Login // of the member whose server it is
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
	if o.Nkey == g.own.Key {
		c.RegisterUser(&server.User{Username: memberUser, Account: g.members})
		return true
	}
	name := g.user(o.Nkey)
	if name == "" {
		return false
	}
	// A key that was another's a moment ago waits until that one is cut off.
	if was, known := g.names.LoadOrStore(o.Nkey, name); known && was != name {
		return false
	}
	c.RegisterUser(&server.User{
		Username: name, Account: g.applications,
		Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: transport.OfUsers(name)},
			Subscribe: &server.SubjectPermission{Allow: []string{inbox(name) + ".>"}},
		},
	})
	// If it was revoked meanwhile, Recheck may have looked before this one was there.
	return g.user(o.Nkey) == name
}

// user returns the name of the user to whom a public key belongs, "" if there is
// none.
func (g *guard) user(key string) string {
	if key == g.lock.Member {
		return transport.Trusted
	}
	name, err := g.lock.User(key)
	if err != nil {
		return ""
	}
	return name
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
	// All at once: from one page to the next, who closes a connection could hide
	// another one that it has.
	all, err := s.server.Connz(&server.ConnzOptions{Username: true, Limit: math.MaxInt, Account: applicationAccount})
	if err != nil {
		return 0, fmt.Errorf("nats: clients: %w", err)
	}
	var gone []*server.ConnInfo
	for _, c := range all.Conns {
		if s.guard.isGone(c.AuthorizedUser) {
			gone = append(gone, c)
		}
	}
	cut := 0
	for _, c := range gone {
		if s.server.DisconnectClientByID(c.Cid) == nil {
			cut++
		}
	}
	s.guard.names.Range(func(key, _ any) bool {
		if s.guard.isGone(key.(string)) {
			s.guard.names.Delete(key)
		}
		return true
	})
	return cut, nil
}

// isGone says whether a key is no longer that of the user as whom it came.
func (g *guard) isGone(key string) bool {
	name, _ := g.names.Load(key)
	return name != g.user(key)
}
