package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/internal/keys"
	"github.com/atolldb/atoll/internal/quiet"
	"github.com/atolldb/atoll/internal/ring"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/server"
	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/nats"
)

// vault holds what a locked cluster of tests is made of.
type vault struct {
	t      *testing.T
	dir    string
	files  keys.Files
	secret keys.Secret
}

func newVault(t *testing.T) *vault {
	t.Helper()
	v := &vault{t: t, dir: t.TempDir(), secret: keys.NewSecret()}
	v.certify()
	return v
}

// certify makes a new certificate.
func (v *vault) certify() {
	v.t.Helper()
	var err error
	if v.files, err = keys.Certify(v.dir, "member", []string{"127.0.0.1"}, 1, time.Now()); err != nil {
		v.t.Fatal(err)
	}
}

// lock locks a member.
func (v *vault) lock(c server.Config) server.Config {
	c.Secret = string(v.secret)
	c.TLSCA, c.TLSCert, c.TLSKey = v.files.CA, v.files.Cert, v.files.Key
	return c
}

// member is the configuration of a member that joins others.
func (v *vault) member(region, name string, join ...string) server.Config {
	c := v.lock(alone(filepath.Join(v.dir, name)))
	c.Region, c.Name, c.Join = region, name, join
	return c
}

// key returns the key of root or of members.
func (v *vault) key(user string) *keys.Key {
	v.t.Helper()
	k, err := v.secret.Key(user)
	if err != nil {
		v.t.Fatal(err)
	}
	return k
}

// connect connects as a user.
func (v *vault) connect(s *server.Server, k *keys.Key) (*client.Client, error) {
	c, err := client.Connect(v.t.Context(), client.Options{
		Servers: []string{s.Addresses().Client}, CA: v.files.CA, Login: k, User: k.User, Timeout: patience,
	})
	if err == nil {
		v.t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

func (v *vault) as(s *server.Server, k *keys.Key) *client.Client {
	v.t.Helper()
	c, err := v.connect(s, k)
	if err != nil {
		v.t.Fatal(err)
	}
	return c
}

// user makes a user with a key, whom all the members know.
func (v *vault) user(u client.User, members ...*server.Server) *keys.Key {
	v.t.Helper()
	k, err := keys.New(u.Name)
	if err != nil {
		v.t.Fatal(err)
	}
	u.Keys = append(u.Keys, k.Public())
	users, err := members[0].Client().Users(v.t.Context())
	if err != nil {
		v.t.Fatal(err)
	}
	var was *client.User
	if i := slices.IndexFunc(users, func(o client.User) bool { return o.Name == u.Name }); i >= 0 {
		was = &users[i]
	}
	if _, err := members[0].Client().PutUser(v.t.Context(), u, was); err != nil {
		v.t.Fatal(err)
	}
	for _, m := range members {
		eventually(v.t, m.Config().Name+" knows "+u.Name, func() bool {
			users, err := m.Client().Users(v.t.Context())
			return err == nil && strings.Contains(strings.Join(usersOf(users), " "), k.Public())
		})
	}
	return k
}

// usersOf lists the keys of users.
func usersOf(users []client.User) (known []string) {
	for _, u := range users {
		known = append(known, u.Keys...)
	}
	return known
}

// TestLockedCluster: members join by one address, regions converge, users do what
// they may in any of them, a certificate and a key are replaced while all goes on.
func TestLockedCluster(t *testing.T) {
	v := newVault(t)
	eu1 := start(t, v.member("eu", "eu-1"))
	defer stop(t, eu1)
	us1 := start(t, v.member("us", "us-1", eu1.Addresses().Client))
	defer stop(t, us1)
	eu2 := start(t, v.member("eu", "eu-2", us1.Addresses().Client))
	defer stop(t, eu2)
	all := []*server.Server{eu1, us1, eu2}
	web := v.user(client.User{Name: "web", Role: client.Writer, Prefixes: []string{"cart:"}}, all...)
	for i, m := range all {
		if _, err := v.as(m, web).Counter("cart:1").Add(t.Context(), 1); err != nil {
			t.Errorf("%s: %v", m.Config().Name, err)
		}
		if _, err := v.as(m, web).Counter("k").Add(t.Context(), 1); !errors.Is(err, client.ErrForbidden) {
			t.Errorf("%s: a key that the user may not touch: %v", m.Config().Name, err)
		}
		eventually(t, "it is counted everywhere", func() bool {
			for _, m := range all {
				if n, err := m.Client().Counter("cart:1").Value(t.Context()); err != nil || n != int64(i+1) {
					return false
				}
			}
			return true
		})
	}
	root := v.as(us1, v.key(keys.Root))
	eventually(t, "all agree", func() bool {
		report, err := root.Verify(t.Context(), 0, nil)
		return err == nil && report.Converged() && len(report.Members) == 3
	})

	before := v.connected(eu1)
	v.certify()
	eventually(t, "eu-1 shows its new certificate", func() bool { return v.connected(eu1) != before })

	// The key is another from now on, and who goes on with the first is cut off.
	old := v.as(us1, web)
	if _, err := old.Counter("cart:1").Value(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := v.user(client.User{Name: "web", Role: client.Writer}, all...)
	eventually(t, "the first key is of no use", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := old.Counter("cart:1").Value(ctx)
		_, again := v.connect(us1, web)
		return err != nil && errors.Is(again, client.ErrForbidden)
	})
	if _, err := v.as(us1, next).Counter("k").Add(t.Context(), 1); err != nil {
		t.Errorf("the next key, without prefixes: %v", err)
	}
}

// connected returns the number of the certificate that a member shows clients.
func (v *vault) connected(s *server.Server) string {
	v.t.Helper()
	var number string
	look := &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error {
		number = s.PeerCertificates[0].SerialNumber.String()
		return nil
	}}
	c, err := client.Connect(v.t.Context(), client.Options{Servers: []string{s.Addresses().Client}, TLS: look, Login: v.key(keys.Root), User: keys.Root})
	if err != nil {
		v.t.Fatal(err)
	}
	defer c.Close()
	return number
}

// TestForeignMembers: who has another secret, or a certificate of somebody else, is
// no member, even under the name of the region, of the cluster and of a member.
func TestForeignMembers(t *testing.T) {
	v, foreign := newVault(t), newVault(t)
	var told syncBuffer
	eu1, err := server.Start(t.Context(), v.member("eu", "eu-1"), slog.New(slog.NewTextHandler(&told, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, eu1)
	addTo(t, eu1, 1)
	began := time.Now()
	open := alone(filepath.Join(v.dir, "open"))
	open.Secret = string(v.secret)
	guess := foreign.member("eu", "x")
	stolen := v.member("eu", "x")
	stolen.Secret = string(foreign.secret)
	for name, c := range map[string]server.Config{"open": open, "of another authority": guess, "with another secret": stolen} {
		for way, join := range map[string]string{"route": eu1.Addresses().Cluster, "gateway": eu1.Addresses().Gateway, "client": eu1.Addresses().Client} {
			c.Name, c.Data, c.Join, c.Regions = "eu-2", filepath.Join(foreign.dir, way+name), []string{join}, nil
			if way == "gateway" {
				c.Region, c.Join, c.Regions = "us", nil, map[string][]string{"eu": {join}}
			}
			before := eu1.Denied()
			s, err := server.Start(t.Context(), c, nil)
			eventually(t, "a member "+name+" by "+way+" is counted", func() bool { return eu1.Denied() > before })
			if way == "client" && err == nil {
				t.Errorf("a member %s joins", name)
			}
			if err == nil {
				if _, err := s.Client().Counter("k").Add(t.Context(), 100); err != nil {
					t.Error(err)
				}
				stop(t, s)
			}
		}
	}
	if n, err := eu1.Client().Counter("k").Value(t.Context()); n != 1 || err != nil {
		t.Errorf("the counter is %d, %v; want 1", n, err)
	}
	views, err := eu1.Client().Members(t.Context(), "")
	if err != nil || len(views) != 1 {
		t.Errorf("the table has %v, %v", views, err)
	}
	if n := strings.Count(told.String(), "refused what comes from 127.0.0.1"); n < 1 || n > once(began) {
		t.Errorf("it is told %d times of the one host; want once a minute", n)
	}
}

// once is how often at most something is told that is told once a minute.
func once(began time.Time) int { return 1 + int(time.Since(began)/quiet.Pause) }

// syncBuffer is a buffer that may be written to and read concurrently.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestMalformedOfUsers: what makes no sense, at every subject that users reach, is
// refused, counted, told of once, and changes nothing.
func TestMalformedOfUsers(t *testing.T) {
	v := newVault(t)
	var told syncBuffer
	c := v.member("eu", "eu-1")
	eu1, err := server.Start(t.Context(), c, slog.New(slog.NewTextHandler(&told, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, eu1)
	addTo(t, eu1, 1)
	k := v.user(client.User{Name: "web", Role: client.Writer}, eu1)
	authority, err := keys.Client(v.files.CA)
	if err != nil {
		t.Fatal(err)
	}
	web, err := nats.Dial(t.Context(), []string{eu1.Addresses().Client}, nats.DialOptions{
		User: "web", TLS: authority, Login: &nats.Login{Key: k.Public(), Sign: k.Sign},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer web.Close()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	// What would be a request but for its many operations.
	parts := bytes.Repeat([]byte{0x0a, 0}, transport.MaxMessageBytes/2-8)
	if parts, err = (proto.MarshalOptions{}).MarshalAppend(parts, &pb.Request{Protocol: pb.Protocol}); err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{
		transport.Requests("eu", 3, "web"), transport.Requests("eu", 9999, "web"), transport.Fallback("eu", 3, "web"), transport.Questions("eu-1", "web"), "kv.eu.x.web",
		transport.Info("web"),
	} {
		for what, data := range map[string][]byte{"noise": []byte("\xff\xffnoise"), "nothing": nil, "much": bytes.Repeat([]byte{0xff}, transport.MaxMessageBytes), "parts": parts} {
			before := counters(t, eu1)["messages_malformed"] + counters(t, eu1)["messages_forbidden"]
			said, err := web.Request(ctx, subject, data)
			asks := subject == transport.Info("web") && what == "nothing" // which is all there is to say
			if err != nil || (refusalIn(t, subject, said) == nil) != asks {
				t.Errorf("%s at %s: %.64q, %v; want a refusal", what, subject, said, err)
			}
			if after := counters(t, eu1)["messages_malformed"] + counters(t, eu1)["messages_forbidden"]; after != before+1 && what != "nothing" {
				t.Errorf("%s at %s is counted %d times", what, subject, after-before)
			}
		}
	}
	if n := strings.Count(told.String(), "a message was refused"); n < 1 || n > once(began) {
		t.Errorf("it is told %d times of the user, want once a minute:\n%s", n, told.String())
	}
	if n, err := eu1.Client().Counter("k").Value(t.Context()); n != 1 || err != nil {
		t.Errorf("the counter is %d, %v; want 1", n, err)
	}
}

// refusalIn returns the error that an answer carries.
func refusalIn(t *testing.T, subject string, said []byte) *pb.Error {
	t.Helper()
	var answer interface {
		proto.Message
		GetError() *pb.Error
	} = &pb.Answer{} // its error has the place that those of answers to questions have
	if subject == transport.Info("web") {
		answer = &pb.ClusterInfo{}
	}
	if err := proto.Unmarshal(said, answer); err != nil {
		t.Fatal(err)
	}
	return answer.GetError()
}

// spy returns the end of a network of somebody who has all that a member has, and
// is none of them.
func (v *vault) spy(s *server.Server) *nats.Server {
	v.t.Helper()
	password, err := v.secret.Password("links")
	if err != nil {
		v.t.Fatal(err)
	}
	lock := &nats.Lock{Password: password, Member: v.key(keys.Member).Public(), User: func(string) (string, error) { return "", nil }}
	if lock.Clients, err = v.files.Clients(); err == nil {
		lock.Members, err = v.files.Members()
	}
	if err != nil {
		v.t.Fatal(err)
	}
	spy, err := nats.Start(v.t.Context(), nats.Options{Region: "eu", Name: "spy", Routes: []string{s.Addresses().Cluster}, Lock: lock})
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { _ = spy.Close() })
	return spy
}

// TestReplay: what members have said once, said again by somebody who has become
// one, does not bring back what was removed since.
func TestReplay(t *testing.T) {
	v := newVault(t)
	eu1 := start(t, v.member("eu", "eu-1"))
	defer stop(t, eu1)
	us1 := start(t, v.member("us", "us-1", eu1.Addresses().Client))
	defer stop(t, us1)
	spy := v.spy(eu1)
	heard := make(chan transport.Message, 1000)
	if _, err := spy.Subscribe(transport.Delta(ring.Shard("s", 16)), func(m transport.Message) { heard <- m }); err != nil {
		t.Fatal(err)
	}
	set := eu1.Client().Set("s")
	var recorded []transport.Message
	eventually(t, "an event is overheard", func() bool {
		if _, err := set.Add(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
		if _, err := set.Remove(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
		for len(heard) > 0 {
			recorded = append(recorded, <-heard)
		}
		return len(recorded) >= 4
	})
	converged := func() bool {
		report, err := eu1.Client().Verify(t.Context(), 0, nil)
		return err == nil && report.Converged() && len(report.Members) == 2
	}
	eventually(t, "both have it", converged)
	for _, m := range recorded {
		if err := spy.Publish(m.Subject, m.Data); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := set.Add(t.Context(), "y"); err != nil { // comes after what was replayed
		t.Fatal(err)
	}
	eventually(t, "both have what came after", func() bool {
		has, err := us1.Client().Set("s").Has(t.Context(), "y")
		return err == nil && has && converged()
	})
	for _, m := range []*server.Server{eu1, us1} {
		if has, err := m.Client().Set("s").Has(t.Context(), "x"); has || err != nil {
			t.Errorf("%s: what was removed is there: %v, %v", m.Config().Name, has, err)
		}
	}
}

// TestLockedHTTP: who asks a locked member by HTTP has the cluster's token.
func TestLockedHTTP(t *testing.T) {
	v := newVault(t)
	c := withDoor(v.member("eu", "eu-1"))
	c.Pprof = true
	eu1 := start(t, c)
	defer stop(t, eu1)
	token, err := v.secret.Password(server.HTTPToken)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(v.files.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	asker := http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer asker.CloseIdleConnections()
	for _, path := range []string{"/", "/metrics", "/healthz", "/readyz", "/loglevel", "/debug/pprof/", "/debug/pprof/cmdline", "/none"} {
		for given, want := range map[string]bool{"": false, "Bearer ": false, "Bearer wrong": false, token: false, "Basic " + token: false, "Bearer " + token: true, "bearer " + token: true} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+eu1.HTTP()+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Authorization", given)
			before := eu1.Denied()
			answer, err := asker.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
			if let := answer.StatusCode != http.StatusUnauthorized; let != want {
				t.Errorf("%s with %.10q: %s", path, given, answer.Status)
			}
			if counted := eu1.Denied() > before; counted == want {
				t.Errorf("%s with %.10q is counted: %v", path, given, counted)
			}
		}
	}
	plain := http.Client{Timeout: patience}
	defer plain.CloseIdleConnections()
	if answer, err := plain.Get("http://" + eu1.HTTP() + "/metrics"); err == nil {
		if answer.StatusCode == http.StatusOK {
			t.Error("it speaks HTTP without TLS")
		}
		_ = answer.Body.Close()
	}
}

// TestHTTPConnections: whoever has no token is not kept on the line, and whoever
// has many connections leaves the member able to serve others.
func TestHTTPConnections(t *testing.T) {
	v := newVault(t)
	eu1 := start(t, withDoor(v.member("eu", "eu-1")))
	defer stop(t, eu1)
	conn, err := tls.Dial("tcp", eu1.HTTP(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if said, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(said), "HTTP/1.1 401") {
		t.Errorf("%.40q, %v; want 401, and the end of the connection", said, err)
	}
	for range 300 { // more than are accepted
		idle, err := net.Dial("tcp", eu1.HTTP())
		if err != nil {
			t.Fatal(err)
		}
		defer idle.Close()
	}
	if _, err := v.as(eu1, v.key(keys.Root)).Counter("k").Add(t.Context(), 1); err != nil {
		t.Errorf("meanwhile: %v", err)
	}
}

// TestLockRefused: a member that others could reach without a key does not start,
// nor one that is half locked; nothing is left behind.
func TestLockRefused(t *testing.T) {
	v := newVault(t)
	for name, test := range map[string]struct {
		change func(*server.Config)
		want   string
	}{
		"client beyond loopback":  {func(c *server.Config) { c.Listen.Client = "0.0.0.0:0" }, "tls_ca, tls_cert, tls_key and secret_file"},
		"route beyond loopback":   {func(c *server.Config) { c.Listen.Route = "[::]:0" }, "or say insecure"},
		"gateway beyond loopback": {func(c *server.Config) { c.Listen.Gateway = "192.0.2.1:0" }, "on 192.0.2.1:0"},
		"HTTP beyond loopback":    {func(c *server.Config) { c.Listen.HTTP = "0.0.0.0:0" }, "on 0.0.0.0:0"},
		"by a name":               {func(c *server.Config) { c.Listen.Client = "db.internal:0" }, "on db.internal:0"},
		"a secret alone":          {func(c *server.Config) { c.Listen.Client, c.Secret = "0.0.0.0:0", string(v.secret) }, "tls_cert"},
		"no secret":               {func(c *server.Config) { *c = v.lock(*c); c.Secret = "" }, "needs the cluster's secret"},
		"a short secret":          {func(c *server.Config) { *c = v.lock(*c); c.Secret = "guess" }, "at least 16"},
		"half a certificate":      {func(c *server.Config) { *c = v.lock(*c); c.TLSKey = "" }, "go together; 2 of them"},
		"no such file":            {func(c *server.Config) { *c = v.lock(*c); c.TLSCert = filepath.Join(v.dir, "none") }, "no such file"},
		"a key for a certificate": {func(c *server.Config) { *c = v.lock(*c); c.TLSCert = c.TLSKey }, "certificates cannot be used"},
		"insecure and locked":     {func(c *server.Config) { *c = v.lock(*c); c.Insecure = true }, "insecure besides"},
		"two secrets":             {func(c *server.Config) { c.Secret, c.SecretFile = "a", "b" }, "take one"},
		"no secret in the file":   {func(c *server.Config) { c.SecretFile = filepath.Join(v.dir, "none") }, "no such file"},
	} {
		c := alone(filepath.Join(v.dir, "data"))
		test.change(&c)
		s, err := server.Start(t.Context(), c, nil)
		if err == nil {
			stop(t, s)
		}
		if !errors.Is(err, server.ErrConfig) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v; want ErrConfig, %q", name, err, test.want)
		}
		if _, err := os.Stat(c.Data); err == nil {
			t.Fatalf("%s: a directory is left behind", name)
		}
	}
	told := alone(filepath.Join(v.dir, "told"))
	told.Listen.Client, told.Insecure = "0.0.0.0:0", true
	stop(t, start(t, told))
}
