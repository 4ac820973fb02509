package nats_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/atolldb/atoll/internal/keys"
	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/nats"
)

// locked is what a locked cluster of tests is made of.
type locked struct {
	files  keys.Files
	secret keys.Secret
	users  map[string]*keys.Key // by name

	mu    sync.Mutex
	owner map[string]string // of public keys
	asked func()            // when the next one asks whose a key is
}

// owns says whose key one is; "" nobody's.
func (l *locked) owns(k *keys.Key, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.owner[k.Public()] = name
}

func newLocked(t *testing.T, users ...string) *locked {
	t.Helper()
	dir := t.TempDir()
	l := &locked{files: certify(t, dir), secret: "the secret of a test", users: map[string]*keys.Key{}, owner: map[string]string{}}
	for _, name := range users {
		l.users[name] = must(keys.New(name))(t)
		l.owns(l.users[name], name)
	}
	return l
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// certify makes an authority and a certificate for members on loopback.
func certify(t *testing.T, dir string) keys.Files {
	t.Helper()
	return must(keys.Certify(dir, "member", []string{"127.0.0.1"}, 1, time.Now()))(t)
}

// lock is that of a member of the cluster.
func (l *locked) lock(t *testing.T) *nats.Lock {
	t.Helper()
	member := must(l.secret.Key(keys.Member))(t)
	return &nats.Lock{
		Clients: must(l.files.Clients())(t), Members: must(l.files.Members())(t),
		Password: must(l.secret.Password("links"))(t), Member: member.Public(),
		User: func(key string) (string, error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			if asked := l.asked; asked != nil {
				l.asked = nil
				asked()
			}
			return l.owner[key], nil
		},
	}
}

func (l *locked) dial(t *testing.T, s *nats.Server, k *keys.Key) (*nats.Conn, error) {
	t.Helper()
	o := nats.DialOptions{TLS: must(keys.Client(l.files.CA))(t)}
	if k != nil {
		o.User, o.Login = k.User, &nats.Login{k.Public(), k.Sign}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return nats.Dial(ctx, []string{s.Addresses().Client}, o)
}

// startLocked starts a member of a locked cluster.
func startLocked(t *testing.T, l *locked, o nats.Options) *nats.Server {
	t.Helper()
	o.Lock, o.SolicitDelay = l.lock(t), 10*time.Millisecond
	s, err := nats.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// In a locked cluster members meet, users reach their requests in all regions,
// and hear at once that nobody serves one.
func TestLocked(t *testing.T) {
	l := newLocked(t, "web")
	eu := startLocked(t, l, nats.Options{Region: "eu", Name: "eu-1"})
	eu2 := startLocked(t, l, nats.Options{Region: "eu", Name: "eu-2", Routes: []string{eu.Addresses().Cluster}})
	us := startLocked(t, l, nats.Options{Region: "us", Name: "us-1", Gateways: map[string][]string{"eu": {eu.Addresses().Gateway}}})
	serve(t, us, transport.AllRequests("us"), transport.OwnersGroup, echo)
	serve(t, eu2, transport.AllRequests("eu"), transport.OwnersGroup, echo)
	awaitAnswer(t, eu, transport.Requests("us", 1, transport.Trusted))
	web, err := l.dial(t, eu, l.users["web"])
	if err != nil {
		t.Fatal(err)
	}
	defer web.Close()
	for _, region := range []string{"us", "eu"} {
		awaitAnswer(t, web, transport.Requests(region, 1, "web"))
	}
	if _, err := request(t, web, transport.Requests("ap", 1, "web"), "x"); !errors.Is(err, transport.ErrNoResponders) {
		t.Errorf("of a region that is not there: %v", err)
	}
}

// Who does not prove who it is, does not come in, by no door.
func TestKeptOut(t *testing.T) {
	l := newLocked(t, "web")
	eu := startLocked(t, l, nats.Options{Region: "eu", Name: "eu-1"})
	stranger := must(keys.New("web"))(t)
	other := newLocked(t)
	foreign := &locked{files: l.files}
	foreign.files.CA = other.files.CA
	for name, try := range map[string]func() error{
		"no login":        func() error { _, err := l.dial(t, eu, nil); return err },
		"an unknown key":  func() error { _, err := l.dial(t, eu, stranger); return err },
		"another CA":      func() error { _, err := foreign.dial(t, eu, l.users["web"]); return err },
		"another's nonce": func() error { return forged(t, l, eu) },
		"no TLS": func() error {
			_, err := nats.Dial(t.Context(), []string{eu.Addresses().Client}, nats.DialOptions{})
			return err
		},
	} {
		before := eu.Denied()
		if err := try(); !errors.Is(err, nats.ErrRefused) {
			t.Errorf("%s: %v; want ErrRefused", name, err)
		}
		awaitDenied(t, eu, name, before)
	}
	for name, o := range map[string]nats.Options{
		"route": {Region: "eu", Name: "eu-2", Routes: []string{eu.Addresses().Cluster}}, "gateway": {Region: "us", Name: "us-1", Gateways: map[string][]string{"eu": {eu.Addresses().Gateway}}},
	} {
		for what, key := range map[string]func(*locked){
			"of another CA": func(in *locked) { in.files = other.files }, "with another secret": func(in *locked) { in.secret = "another secret of a test" },
		} {
			in := &locked{files: l.files, secret: l.secret}
			key(in)
			before := eu.Denied()
			startLocked(t, in, o)
			awaitDenied(t, eu, name+" "+what, before)
			if len(eu.Gateways()) != 0 || eu.Routes() != 0 {
				t.Errorf("a %s %s is let in", name, what)
			}
		}
		t.Run(name+" open", func(t *testing.T) {
			before := eu.Denied()
			o.SolicitDelay = 10 * time.Millisecond
			s := must(nats.Start(t.Context(), o))(t)
			defer s.Close()
			awaitDenied(t, eu, name+" without a lock", before)
			if len(eu.Gateways()) != 0 || eu.Routes() != 0 {
				t.Errorf("an open %s is let in", name)
			}
		})
	}
}

// forged logs in with the key of a user and a signature that is not of this nonce.
func forged(t *testing.T, l *locked, s *nats.Server) error {
	k := *l.users["web"]
	_, err := nats.Dial(t.Context(), []string{s.Addresses().Client}, nats.DialOptions{
		TLS: must(keys.Client(l.files.CA))(t), User: "web",
		Login: &nats.Login{k.Public(), func([]byte) ([]byte, error) { return k.Sign([]byte("an old nonce")) }},
	})
	return err
}

func awaitDenied(t *testing.T, s *nats.Server, what string, before uint64) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); s.Denied() == before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("%s is not counted", what)
			return
		}
	}
}

// A user reaches what it may ask for, and nothing else: whatever else it sends
// or listens to is refused and counted, and reaches no member.
func TestUserAttacks(t *testing.T) {
	l := newLocked(t, "web", "app")
	eu := startLocked(t, l, nats.Options{Region: "eu", Name: "eu-1"})
	heard := make(chan string, 100)
	for _, pattern := range []string{transport.AllDeltas, transport.Gossip, transport.Heartbeat, "$JS.ACK.*"} {
		if _, err := eu.Subscribe(pattern, func(m transport.Message) { heard <- m.Subject }); err != nil {
			t.Fatal(err)
		}
	}
	for _, pattern := range append(transport.OfUsers(transport.Any), transport.Sync("eu-1")) {
		serve(t, eu, pattern, "", func(ctx context.Context, m transport.Message) ([]byte, error) {
			if transport.UserToken(m.Subject) != "web" {
				heard <- m.Subject
			}
			return echo(ctx, m)
		})
	}
	k := l.users["web"]
	web, err := natsgo.Connect("tls://"+eu.Addresses().Client, natsgo.Nkey(k.Public(), k.Sign), natsgo.Secure(must(keys.Client(l.files.CA))(t)),
		natsgo.CustomInboxPrefix("_INBOX.web"), natsgo.NoReconnect(), natsgo.ErrorHandler(func(*natsgo.Conn, *natsgo.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer web.Close()
	if _, err := web.Request(transport.Requests("eu", 1, "web"), nil, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{
		transport.Delta(1), transport.Gossip, transport.Heartbeat, transport.Sync("eu-1"),
		transport.Requests("eu", 1, transport.Trusted), transport.Requests("eu", 1, "app"), transport.Requests("eu", 1, "root"),
		transport.Questions("eu-1", transport.Trusted), transport.Questions("eu-1", "root"), transport.Fallback("eu", 1, transport.Trusted),
		"kv.eu.1", "kv.eu.1.web.more", "$SYS.REQ.SERVER.PING", "$SRV.PING", "_R_.x", "_GR_.x",
	} {
		before := eu.Denied()
		if err := web.Publish(subject, []byte("x")); err != nil {
			t.Fatal(err)
		}
		awaitDenied(t, eu, "publishing on "+subject, before)
	}
	for _, pattern := range []string{">", "*", transport.AllDeltas, transport.Gossip, "_INBOX.>", "_INBOX.app.>", "$SYS.>", transport.Requests("eu", 1, "web"), "_R_.>"} {
		before := eu.Denied()
		if _, err := web.SubscribeSync(pattern); err != nil {
			t.Fatal(err)
		}
		awaitDenied(t, eu, "listening to "+pattern, before)
	}
	// An answer goes where the request says, within the account of users, and there it
	// is no request of whom the subject names.
	for _, reply := range []string{
		transport.Delta(1), transport.Gossip, transport.Heartbeat, transport.Sync("eu-1"),
		transport.Questions("eu-1", transport.Trusted), transport.Requests("eu", 1, transport.Trusted),
		transport.Questions("eu-1", "root"), transport.Requests("eu", 1, "app"),
	} {
		if err := web.PublishRequest(transport.Requests("eu", 1, "web"), reply, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 { // what an answer asked for is served by then, too
		if _, err := web.Request(transport.Requests("eu", 1, "web"), nil, 10*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if len(heard) > 0 {
		t.Errorf("members hear a user on %s", <-heard)
	}
}

// What is too large, or no NATS at all, ends the connection, and is counted.
func TestMalformedConnections(t *testing.T) {
	l := newLocked(t, "web")
	eu := startLocked(t, l, nats.Options{Region: "eu", Name: "eu-1"})
	for name, address := range map[string]string{"client": eu.Addresses().Client, "route": eu.Addresses().Cluster, "gateway": eu.Addresses().Gateway} {
		for what, text := range map[string]string{
			"nonsense": "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "a long line": strings.Repeat("x", 1<<20), "an open CONNECT": "CONNECT {\"verbose\":false}\r\nPING\r\n",
		} {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			_, _ = conn.Write([]byte(text))
			rest := make([]byte, 1<<20)
			for err == nil {
				_, err = conn.Read(rest)
			}
			if e := net.Error(nil); errors.As(err, &e) && e.Timeout() {
				t.Errorf("%s, %s: the connection stays open", name, what)
			}
			_ = conn.Close()
		}
	}
}

// Who speaks TLS and then nonsense is counted, whatever the nonsense is.
func TestMalformedLogin(t *testing.T) {
	l := newLocked(t, "web")
	eu := startLocked(t, l, nats.Options{Region: "eu", Name: "eu-1"})
	for _, text := range []string{"CONNECT {x\r\n", "CONNECT {\"name\": 1}\r\n", "CONNECT [\r\n", "INFO {}\r\n", "-ERR 'x'\r\n", "\x00\r\n"} {
		conn, err := net.Dial("tcp", eu.Addresses().Client)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := bufio.NewReaderSize(conn, 1<<16).ReadSlice('\n'); err != nil {
			t.Fatal(err)
		}
		config := must(keys.Client(l.files.CA))(t)
		config.ServerName = "127.0.0.1"
		before := eu.Denied()
		if _, err := tls.Client(conn, config).Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		awaitDenied(t, eu, fmt.Sprintf("%q", text), before)
	}
}

// A key that is taken from a user is of no use any more, also to who is connected.
func TestRecheck(t *testing.T) {
	l := newLocked(t, "web", "app")
	eu := startLocked(t, l, nats.Options{Region: "eu", Name: "eu-1"})
	serve(t, eu, transport.AllRequests("eu"), transport.OwnersGroup, echo)
	web, app := must(l.dial(t, eu, l.users["web"]))(t), must(l.dial(t, eu, l.users["app"]))(t)
	defer web.Close()
	defer app.Close()
	awaitAnswer(t, web, transport.Requests("eu", 1, "web"))
	l.owns(l.users["web"], "")
	if n, err := eu.Recheck(); n != 1 || err != nil {
		t.Errorf("%d connections are cut, %v; want 1", n, err)
	}
	if _, err := request(t, web, transport.Requests("eu", 1, "web"), ""); err == nil {
		t.Error("who lost its key is still served")
	}
	awaitAnswer(t, app, transport.Requests("eu", 1, "app"))
}

// However many connections a key has, all are cut off, also while it closes some
// of them; a key that has become another's comes back as that one.
func TestRecheckMany(t *testing.T) {
	l := newLocked(t, "web")
	eu := startLocked(t, l, nats.Options{Region: "eu", Name: "eu-1"})
	serve(t, eu, transport.AllRequests("eu"), transport.OwnersGroup, echo)
	k := l.users["web"]
	authority := must(keys.Client(l.files.CA))(t)
	closed := make(chan struct{}, manyClients)
	connect := func() *natsgo.Conn {
		for deadline := time.Now().Add(patience); ; {
			conn, err := natsgo.Connect("tls://"+eu.Addresses().Client, natsgo.Nkey(k.Public(), k.Sign), natsgo.Secure(authority),
				natsgo.NoReconnect(), natsgo.ClosedHandler(func(*natsgo.Conn) { closed <- struct{}{} }), natsgo.Timeout(patience))
			if err == nil {
				return conn
			}
			// A server gives a login two seconds, which may be too few on a busy machine.
			if errors.Is(err, natsgo.ErrAuthorization) || time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
	var conns []*natsgo.Conn
	for range manyClients {
		conn := connect()
		defer conn.Close()
		conns = append(conns, conn)
	}
	l.owns(k, "app")
	if _, err := l.dial(t, eu, k); !errors.Is(err, nats.ErrRefused) {
		t.Errorf("a key that is still somebody else's here: %v", err)
	}
	const left = 50
	const own = 2 // of the member
	eventually(t, "the server knows that the one refused has left", func() bool { return eu.Clients() == manyClients+own })
	l.asked = func() {
		for _, conn := range conns[:left] {
			conn.Close()
		}
		eventually(t, "the server knows that some have left", func() bool { return eu.Clients() == manyClients+own-left })
	}
	if n, err := eu.Recheck(); n != manyClients-left || err != nil {
		t.Fatalf("%d connections are cut, %v; want %d", n, err, manyClients-left)
	}
	for range manyClients {
		<-closed
	}
	k.User = "app"
	app := must(l.dial(t, eu, k))(t)
	defer app.Close()
	awaitAnswer(t, app, transport.Requests("eu", 1, "app"))
}

// A key is not used where nobody proves to be the server.
func TestNoLoginWithoutTLS(t *testing.T) {
	k := must(keys.New("web"))(t)
	if _, err := nats.Dial(t.Context(), []string{"127.0.0.1:1"}, nats.DialOptions{Login: &nats.Login{Key: k.Public(), Sign: k.Sign}}); err == nil || !strings.Contains(err.Error(), "without TLS") {
		t.Errorf("%v; want that it is refused", err)
	}
}

// Who has the key of members, and no certificate, may ask as users do, and is no
// member.
func TestJoinerIsNoMember(t *testing.T) {
	l := newLocked(t)
	eu := startLocked(t, l, nats.Options{Region: "eu", Name: "eu-1"})
	serve(t, eu, transport.Questions("eu-1", transport.Any), "", echo)
	k := must(l.secret.Key(keys.Member))(t)
	k.User = transport.Trusted
	joiner := must(l.dial(t, eu, k))(t)
	defer joiner.Close()
	awaitAnswer(t, joiner, transport.Questions("eu-1", transport.Trusted))
	for _, pattern := range []string{transport.AllDeltas, transport.Gossip} {
		before := eu.Denied()
		if _, err := joiner.Subscribe(pattern, func(transport.Message) { t.Error("it hears members") }); err != nil {
			t.Fatal(err)
		}
		awaitDenied(t, eu, "listening to "+pattern, before)
	}
	before := eu.Denied()
	if err := joiner.Publish(transport.Delta(1), []byte("x")); err != nil {
		t.Fatal(err)
	}
	awaitDenied(t, eu, "publishing an event", before)
}

// Subscriptions of users are known to all members, so nobody has many.
func TestFewSubscriptions(t *testing.T) {
	l := newLocked(t, "web")
	eu := startLocked(t, l, nats.Options{Region: "eu", Name: "eu-1"})
	web := must(l.dial(t, eu, l.users["web"]))(t)
	defer web.Close()
	before := eu.Denied()
	for i := range 100 {
		if _, err := web.Subscribe("_INBOX.web."+strings.Repeat("x", 1+i), func(transport.Message) {}); err != nil {
			t.Fatal(err)
		}
	}
	awaitDenied(t, eu, "the subscription after the last", before)
}
