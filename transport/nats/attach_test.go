package nats_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/atolldb/atoll/internal/ports"
	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/nats"
	"github.com/atolldb/atoll/transport/transporttest"
)

// A member that uses servers of somebody else keeps the whole contract, too.
func TestAttachConformance(t *testing.T) {
	transporttest.Run(t, func(t *testing.T) transporttest.Network {
		return &attached{supercluster: newSupercluster(t), ends: map[string]*nats.Server{}}
	})
}

// attached is a supercluster the servers of which the members only use.
type attached struct {
	*supercluster
	ends map[string]*nats.Server
}

func (a *attached) Join(region, name string) transport.Transport {
	a.supercluster.Join(region, name)
	a.ends[name] = attach(a.t, nats.AttachOptions{
		Region: region, Name: name, MaxInFlight: transporttest.MaxInFlight, Servers: []string{a.members[name].Addresses().Client},
	})
	return a.ends[name]
}

func (a *attached) Leave(name string) {
	if err := a.ends[name].Close(); err != nil {
		a.t.Fatal(err)
	}
}

func attach(t *testing.T, o nats.AttachOptions) *nats.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	end, err := nats.Attach(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := end.Close(); err != nil {
			t.Error(err)
		}
	})
	return end
}

// foreign starts a server that is nobody's member, and returns its address.
func foreign(t *testing.T, o natsserver.Options) string {
	t.Helper()
	o.Host, o.NoSigs, o.NoLog = "127.0.0.1", true, true
	if o.Port == 0 {
		o.Port = natsserver.RANDOM_PORT
	}
	if o.MaxPayload == 0 {
		o.MaxPayload = transport.MaxMessageBytes
	}
	s, err := natsserver.NewServer(&o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server is not ready")
	}
	return s.Addr().String()
}

// files are what members and servers are given, in a directory of the test.
type files struct {
	t   *testing.T
	dir string
}

func (f files) write(name string, data []byte) string {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		f.t.Fatal(err)
	}
	return path
}

// authority signs certificates for 127.0.0.1.
type authority struct {
	files
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	path string
}

func (f files) authority(name string) authority {
	a := authority{files: f}
	a.path, _ = a.certify(name)
	return a
}

// certify returns the files of a new certificate and its key, the first of which
// is the authority's own.
func (a *authority) certify(name string) (cert, key string) {
	a.t.Helper()
	pair, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	is := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: a.cert == nil,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if a.cert == nil {
		a.cert, a.key = is, pair
	}
	der, err := x509.CreateCertificate(rand.Reader, is, a.cert, pair.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(pair)
	if err != nil {
		a.t.Fatal(err)
	}
	if a.cert == is {
		a.cert, _ = x509.ParseCertificate(der)
	}
	return a.write(name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		a.write(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

// serverTLS is what a server has that asks for certificates of its authority.
func (a *authority) serverTLS() *tls.Config {
	pair, err := tls.LoadX509KeyPair(a.certify("server"))
	if err != nil {
		a.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}
}

func (f files) key(create func() (nkeys.KeyPair, error)) (pair nkeys.KeyPair, public string, seed []byte) {
	f.t.Helper()
	pair, err := create()
	if err == nil {
		if public, err = pair.PublicKey(); err == nil {
			seed, err = pair.Seed()
		}
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return pair, public, seed
}

// operated returns the options of a server of an operator, and the credentials
// of a user whom it knows.
func (f files) operated() (o natsserver.Options, credentials string) {
	f.t.Helper()
	operator, operatorKey, _ := f.key(nkeys.CreateOperator)
	account, accountKey, _ := f.key(nkeys.CreateAccount)
	_, userKey, seed := f.key(nkeys.CreateUser)
	encode := func(text string, err error) string {
		f.t.Helper()
		if err != nil {
			f.t.Fatal(err)
		}
		return text
	}
	is := jwt.NewOperatorClaims(operatorKey)
	encode(is.Encode(operator))
	resolver := &natsserver.MemAccResolver{}
	if err := resolver.Store(accountKey, encode(jwt.NewAccountClaims(accountKey).Encode(operator))); err != nil {
		f.t.Fatal(err)
	}
	user, err := jwt.FormatUserConfig(encode(jwt.NewUserClaims(userKey).Encode(account)), seed)
	if err != nil {
		f.t.Fatal(err)
	}
	return natsserver.Options{TrustedOperators: []*jwt.OperatorClaims{is}, AccountResolver: resolver}, f.write(userKey+".creds", user)
}

// TestAttachLogsIn: by each of the ways there are, and not without it or with
// another's.
func TestAttachLogsIn(t *testing.T) {
	f := files{t, t.TempDir()}
	_, public, seed := f.key(nkeys.CreateUser)
	_, _, strange := f.key(nkeys.CreateUser)
	operated, credentials := f.operated()
	_, strangeCredentials := f.operated()
	ca, other := f.authority("ca"), f.authority("other")
	cert, key := ca.certify("member")
	strangeCert, strangeKey := other.certify("stranger")
	operatedAt := foreign(t, operated)
	nkeyAt := foreign(t, natsserver.Options{Nkeys: []*natsserver.NkeyUser{{Nkey: public}}})
	userAt := foreign(t, natsserver.Options{Username: "member", Password: "right,2"})
	tlsAt := foreign(t, natsserver.Options{TLSConfig: ca.serverTLS(), TLSVerify: true, TLSTimeout: patience.Seconds()})
	small := foreign(t, natsserver.Options{MaxPayload: 1 << 20})
	for name, c := range map[string]struct {
		o       nats.AttachOptions
		refused bool
	}{
		"a user":                {nats.AttachOptions{Servers: []string{"nats://member:right,2@" + userAt}}, false},
		"a wrong password":      {nats.AttachOptions{Servers: []string{"nats://member:secret-0@" + userAt}}, true},
		"no user":               {nats.AttachOptions{Servers: []string{userAt}}, true},
		"an nkey":               {nats.AttachOptions{Servers: []string{nkeyAt}, Nkey: f.write("nkey", seed)}, false},
		"another's nkey":        {nats.AttachOptions{Servers: []string{nkeyAt}, Nkey: f.write("strange", strange)}, true},
		"a JWT":                 {nats.AttachOptions{Servers: []string{operatedAt}, Credentials: credentials}, false},
		"a JWT of nobody":       {nats.AttachOptions{Servers: []string{operatedAt}, Credentials: strangeCredentials}, true},
		"certificates":          {nats.AttachOptions{Servers: []string{"tls://" + tlsAt}, CA: ca.path, Certificate: cert, Key: key}, false},
		"no certificate":        {nats.AttachOptions{Servers: []string{tlsAt}, CA: ca.path}, true},
		"another's certificate": {nats.AttachOptions{Servers: []string{tlsAt}, CA: ca.path, Certificate: strangeCert, Key: strangeKey}, true},
		"another's server":      {nats.AttachOptions{Servers: []string{tlsAt}, CA: other.path, Certificate: cert, Key: key}, true},
		"small messages":        {nats.AttachOptions{Servers: []string{small}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c.o.Region, c.o.Name = "eu", "eu-1"
			end, err := nats.Attach(t.Context(), c.o)
			if err == nil {
				if !end.Connected() {
					t.Error("it is not connected")
				}
				if err := end.Close(); err != nil {
					t.Error(err)
				}
			}
			if c.refused != errors.Is(err, nats.ErrRefused) || c.refused != (err != nil) {
				t.Errorf("%v, refused is to be %v", err, c.refused)
			}
			if err != nil && strings.Contains(err.Error(), "secret-0") {
				t.Errorf("it tells the password: %v", err)
			}
		})
	}
}

// TestAttachBadOptions: what is wrong is told before anybody is asked.
func TestAttachBadOptions(t *testing.T) {
	f := files{t, t.TempDir()}
	nonsense := f.write("nonsense", []byte("nonsense"))
	ca := f.authority("ca")
	for _, c := range []struct {
		change func(*nats.AttachOptions)
		want   string
	}{
		{func(o *nats.AttachOptions) { o.Region = "" }, "Region"},
		{func(o *nats.AttachOptions) { o.Name = "eu 1" }, "eu 1"},
		{func(o *nats.AttachOptions) { o.Servers = nil }, "at least one"},
		{func(o *nats.AttachOptions) { o.Servers = []string{"here"} }, "host:port"},
		{func(o *nats.AttachOptions) { o.Servers = []string{"http://127.0.0.1:80"} }, "tls://host:port"},
		{func(o *nats.AttachOptions) { o.Servers = []string{"nats://u:secret-0@127.0.0.1:80/x"} }, "tls://host:port"},
		{func(o *nats.AttachOptions) { o.Servers = []string{"nats://secret-0@127.0.0.1:80/"} }, `server "127.0.0.1:80"`},
		{func(o *nats.AttachOptions) { o.Servers = []string{"secret-0/1@127.0.0.1:80"} }, "tls://host:port"},
		{func(o *nats.AttachOptions) { o.Servers = []string{"nats://u:secret-0@127.0.0.1:x"} }, "tls://host:port"},
		{func(o *nats.AttachOptions) { o.Servers = []string{"127.0.0.1:0"} }, "port"},
		{func(o *nats.AttachOptions) { o.Credentials, o.Nkey = "a", "b" }, "take one"},
		{func(o *nats.AttachOptions) { o.Nkey, o.Servers = "b", []string{"u:p@127.0.0.1:1"} }, "take one"},
		{func(o *nats.AttachOptions) { o.Certificate = ca.path }, "go together"},
		{func(o *nats.AttachOptions) { o.Certificate, o.Key = ca.path, nonsense }, "the certificate in"},
		{func(o *nats.AttachOptions) { o.CA = nonsense }, "the CA in"},
		{func(o *nats.AttachOptions) { o.Nkey = nonsense }, "the nkey in"},
		{func(o *nats.AttachOptions) { o.Credentials = nonsense }, "the credentials in"},
		{func(o *nats.AttachOptions) { o.Credentials = filepath.Join(f.dir, "nowhere") }, "no such file"},
		{func(o *nats.AttachOptions) { o.MaxInFlight = -1 }, "MaxInFlight"},
	} {
		o := nats.AttachOptions{Region: "eu", Name: "eu-1", Servers: []string{"127.0.0.1:1"}}
		c.change(&o)
		err := nats.CheckAttach(o)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret-0") {
			t.Errorf("%+v: %v, want it to say %q, and no password", o, err, c.want)
		}
	}
}

// TestAttachLater: a member whose servers come up after it subscribes and serves
// from then on, and is told that it may have missed something.
func TestAttachLater(t *testing.T) {
	port, err := ports.Draw()
	if err != nil {
		t.Fatal(err)
	}
	lost := make(chan string, 10)
	end := attach(t, nats.AttachOptions{
		Region: "eu", Name: "eu-1", Servers: []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}, Lost: func(reason string) { lost <- reason },
	})
	heard := make(chan string, 10)
	if _, err := end.Subscribe("delta.*", func(m transport.Message) { heard <- string(m.Data) }); err != nil {
		t.Fatal(err)
	}
	serve(t, end, "kv.1", "owners", echo)
	if err := end.Publish("delta.1", nil); !errors.Is(err, transport.ErrUnreachable) || end.Connected() {
		t.Errorf("publish before there is a server: %v; want ErrUnreachable", err)
	}
	if _, err := request(t, end, "kv.1", "x"); !errors.Is(err, transport.ErrUnreachable) {
		t.Errorf("request before there is a server: %v; want ErrUnreachable", err)
	}
	foreign(t, natsserver.Options{Port: port})
	select {
	case <-lost:
	case <-time.After(patience):
		t.Fatal("it is not told that it has arrived")
	}
	awaitAnswer(t, end, "kv.1")
	eventually(t, "what it publishes arrives", func() bool {
		if end.Publish("delta.1", []byte("x")) != nil {
			return false
		}
		select {
		case <-heard:
			return true
		case <-time.After(10 * time.Millisecond):
			return false
		}
	})
	if end.Embedded() || end.Addresses() != (nats.Addresses{}) || len(end.Gateways()) > 0 || end.Nearest() != nil || end.Routes() != 0 {
		t.Error("it knows of links that are not its own")
	}
}
