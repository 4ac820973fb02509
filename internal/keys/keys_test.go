package keys_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/atolldb/atoll/internal/keys"
)

// A key that was written is read, and nobody else may read it.
func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.key")
	k, err := keys.New("web")
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Write(path); err != nil {
		t.Fatal(err)
	}
	if err := k.Write(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("written over: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v; want that only its owner reads it", info.Mode(), err)
	}
	again, err := keys.Read(path)
	if err != nil || again.User != "web" || again.Public() != k.Public() {
		t.Fatalf("%+v, %v", again, err)
	}
	signature, err := again.Sign([]byte("nonce"))
	if err != nil {
		t.Fatal(err)
	}
	public, err := nkeys.FromPublicKey(k.Public())
	if err != nil || public.Verify([]byte("nonce"), signature) != nil {
		t.Error("what the key that was read signs is not signed by it")
	}
}

func TestNotAKey(t *testing.T) {
	dir := t.TempDir()
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := account.Seed()
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"empty": "", "no seed": "web\n", "no name": "SUAA\n", "nonsense": "web SUnonsense\n", "three": "web a b\n",
		"an account's": "web " + string(seed) + "\n", "a strange name": "we.b SUnonsense\n", "large": strings.Repeat("#\n", 1<<20),
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := keys.Read(path); err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), string(seed)) {
			t.Errorf("%s: %v; want an error that names the file, and not the seed", name, err)
		}
	}
}

// The same secret gives the same keys and passwords, each purpose its own, and
// another secret others.
func TestSecret(t *testing.T) {
	seen := map[string]string{}
	for _, secret := range []keys.Secret{"a secret of some length", "another of some length"} {
		for range 2 {
			for _, user := range []string{keys.Member, keys.Root} {
				k, err := secret.Key(user)
				if err != nil {
					t.Fatal(err)
				}
				note(t, seen, k.Public(), string(secret)+" key "+user)
			}
			for _, purpose := range []string{"a", "b"} {
				p, err := secret.Password(purpose)
				if err != nil || len(p) != 64 {
					t.Fatal(p, err)
				}
				note(t, seen, p, string(secret)+" password "+purpose)
			}
		}
	}
	if len(seen) != 8 {
		t.Errorf("%d different ones, want 8", len(seen))
	}
	if _, err := keys.Secret("x").Key("web"); err == nil {
		t.Error("the secret has the key of a user")
	}
	if keys.Secret("short").Check() == nil || keys.NewSecret().Check() != nil {
		t.Error("a short secret passes, or a new one does not")
	}
}

func note(t *testing.T, seen map[string]string, value, what string) {
	t.Helper()
	if before, ok := seen[value]; ok && before != what {
		t.Errorf("%s is that of %s", what, before)
	}
	seen[value] = what
}

// shake has a client and a server meet, and returns what both say of it.
func shake(t *testing.T, server, client *tls.Config) (ofServer, ofClient error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	done := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			err = tls.Server(conn, server).Handshake()
			_ = conn.Close()
		}
		done <- err
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	over := tls.Client(conn, client)
	if ofClient = over.Handshake(); ofClient == nil {
		// With TLS 1.3 a client learns of a refusal when it reads.
		if _, err := over.Read(make([]byte, 1)); err != nil && strings.Contains(err.Error(), "remote error") {
			ofClient = err
		}
	}
	return <-done, ofClient
}

func made(t *testing.T, dir string, hosts ...string) keys.Files {
	t.Helper()
	files, err := keys.Certify(dir, "member", hosts, 1, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func members(t *testing.T, f keys.Files) *tls.Config {
	t.Helper()
	c, err := f.Members()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Members know each other by the authority and the name of members, both ways;
// clients know them by the authority and the host.
func TestCertificates(t *testing.T) {
	files, foreign := made(t, t.TempDir(), "127.0.0.1"), made(t, t.TempDir(), "127.0.0.1")
	own := members(t, files)
	if s, c := shake(t, own, members(t, files)); s != nil || c != nil {
		t.Errorf("two members: %v, %v", s, c)
	}
	if s, c := shake(t, own, members(t, foreign)); s == nil && c == nil {
		t.Error("a member of another authority is let in")
	}
	naked := own.Clone()
	naked.GetClientCertificate = nil
	if s, _ := shake(t, own, naked); s == nil {
		t.Error("a member without a certificate is let in")
	}
	clients, err := files.Clients()
	if err != nil {
		t.Fatal(err)
	}
	for ca, want := range map[string]bool{files.CA: true, foreign.CA: false} {
		client, err := keys.Client(ca)
		if err != nil {
			t.Fatal(err)
		}
		client.ServerName = "127.0.0.1"
		if _, err := shake(t, clients, client); (err == nil) != want {
			t.Errorf("a client by %s: %v", ca, err)
		}
		client.ServerName = "elsewhere"
		if _, err := shake(t, clients, client); err == nil {
			t.Error("a client takes the member for another host")
		}
	}
	// Of the same authority, and not of a member.
	stranger := own.Clone()
	stranger.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return certificateOf(t, files, "not-a-member"), nil
	}
	if s, _ := shake(t, own, stranger); s == nil {
		t.Error("a certificate of the authority that is no member's is let in")
	}
}

// certificateOf makes a certificate of the authority for a host only.
func certificateOf(t *testing.T, files keys.Files, host string) *tls.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Error(err)
		return nil
	}
	ca, err := tls.LoadX509KeyPair(files.CA, strings.TrimSuffix(files.CA, ".crt")+".key")
	if err != nil {
		t.Error(err)
		return nil
	}
	template, issuer := *pair.Leaf, ca.Leaf
	template.DNSNames = []string{host}
	der, err := x509.CreateCertificate(rand.Reader, &template, issuer, pair.Leaf.PublicKey, ca.PrivateKey)
	if err != nil {
		t.Error(err)
	}
	pair.Certificate = [][]byte{der}
	return &pair
}

// A member whose certificate others would not take is told so at its start.
func TestCheck(t *testing.T) {
	files, foreign := made(t, t.TempDir(), "127.0.0.1"), made(t, t.TempDir(), "127.0.0.1")
	now := time.Now()
	if err := files.Check(now); err != nil {
		t.Error(err)
	}
	if err := files.Check(now.AddDate(0, 0, 2)); err == nil {
		t.Error("a certificate that has expired passes")
	}
	other := files
	other.CA = foreign.CA
	if err := other.Check(now); err == nil {
		t.Error("a certificate of another authority passes")
	}
	pair := certificateOf(t, files, "not-a-member")
	if err := os.WriteFile(files.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := files.Check(now); err == nil || !strings.Contains(err.Error(), keys.MemberName) {
		t.Errorf("a certificate without the name of members: %v", err)
	}
}

// A certificate that is replaced is shown from then on; one that is being
// replaced, or damaged, leaves the one before.
func TestReplaced(t *testing.T) {
	dir := t.TempDir()
	files := made(t, dir, "127.0.0.1")
	c, err := files.Clients()
	if err != nil {
		t.Fatal(err)
	}
	shown := func() string {
		t.Helper()
		got, err := c.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return got.Leaf.SerialNumber.String()
	}
	first := shown()
	if shown() != first {
		t.Error("it changes by itself")
	}
	made(t, dir, "127.0.0.1")
	second := shown()
	if second == first {
		t.Error("the certificate that was replaced is shown")
	}
	if err := os.WriteFile(files.Key, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if shown() != second {
		t.Error("a damaged key changes what is shown")
	}
	if _, err := files.Clients(); err == nil {
		t.Error("a damaged key is taken at the start")
	}
}

// An authority is used again, and one that does not fit its key is refused.
func TestAuthority(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	first := made(t, dir, "a")
	before, err := os.ReadFile(first.CA)
	if err != nil {
		t.Fatal(err)
	}
	made(t, dir, "b")
	made(t, other, "c")
	if after, err := os.ReadFile(first.CA); err != nil || string(after) != string(before) {
		t.Error("the authority is another one")
	}
	key, err := os.ReadFile(filepath.Join(other, "ca.key"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "ca.key"), key, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Certify(dir, "member", nil, 1, time.Now()); err == nil || !strings.Contains(err.Error(), "is not the key of") {
		t.Errorf("with the key of another: %v", err)
	}
}
