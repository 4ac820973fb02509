package keys

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// MemberName is the name in the certificate of every member, beside those of
// its hosts: by it members know each other, wherever they are.
const MemberName = "member.atoll"

// maxCertificates bounds the size of a file with certificates: an authority's may
// have those of many.
const maxCertificates = 1 << 20

// Files name the files of a member's certificates, in PEM: of the authority that
// vouches for all members, the member's own, and its key. A certificate that is
// replaced is read again; an authority is not.
type Files struct{ CA, Cert, Key string }

// Clients returns how a member shows itself to clients.
func (f Files) Clients() (*tls.Config, error) {
	current, err := f.pair()
	if err != nil {
		return nil, err
	}
	return current.shown(), nil
}

// Members returns how members show themselves to each other. Both sides must
// have a certificate of the authority with MemberName.
func (f Files) Members() (*tls.Config, error) {
	current, err := f.pair()
	if err != nil {
		return nil, err
	}
	pool, err := authorities(f.CA)
	if err != nil {
		return nil, err
	}
	c := current.shown()
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return current.load() }
	c.ClientAuth, c.ClientCAs, c.RootCAs, c.ServerName = tls.RequireAndVerifyClientCert, pool, pool, MemberName
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return errors.New("keys: no certificate")
		}
		return s.PeerCertificates[0].VerifyHostname(MemberName)
	}
	return c, nil
}

// Client returns how a client knows members: by an authority.
func Client(ca string) (*tls.Config, error) {
	pool, err := authorities(ca)
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, nil
}

// Check says what is wrong with the files of a member: others must take it for
// one.
func (f Files) Check(now time.Time) error {
	own, err := f.pair()
	if err != nil {
		return err
	}
	pool, err := authorities(f.CA)
	if err != nil {
		return err
	}
	chain := x509.NewCertPool()
	for _, der := range own.loaded.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			chain.AddCert(c)
		}
	}
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		o := x509.VerifyOptions{DNSName: MemberName, Roots: pool, Intermediates: chain, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{use}}
		if _, err := own.loaded.Leaf.Verify(o); err != nil {
			return fmt.Errorf("other members would not take %s for the certificate of one: %w", f.Cert, err)
		}
	}
	return nil
}

func authorities(path string) (*x509.CertPool, error) {
	text, err := readUpTo(path, maxCertificates)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return pool, nil
}

// pair is a certificate with its key, as the files had it when they were last
// looked at.
type pair struct {
	files Files

	mu     sync.Mutex
	seen   [2]os.FileInfo // of the certificate and the key
	loaded *tls.Certificate
}

// pair reads the certificate and its key.
func (f Files) pair() (*pair, error) {
	p := &pair{files: f}
	_, err := p.load()
	return p, err
}

// shown returns how a server shows the certificate.
func (p *pair) shown() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.load() },
	}
}

// load returns the certificate, read again if it was replaced. What cannot be
// read now, as while it is being replaced, leaves the one before in use.
func (p *pair) load() (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var now [2]os.FileInfo
	var err error
	for i, path := range []string{p.files.Cert, p.files.Key} {
		if now[i], err = os.Stat(path); err != nil {
			break
		}
	}
	if err == nil && (p.loaded == nil || replaced(p.seen[0], now[0]) || replaced(p.seen[1], now[1])) {
		var c *tls.Certificate
		if c, err = p.files.read(); err == nil {
			p.loaded, p.seen = c, now
		}
	}
	if p.loaded == nil {
		return nil, err
	}
	return p.loaded, nil
}

// read reads the certificate and its key.
func (f Files) read() (*tls.Certificate, error) {
	cert, err := readUpTo(f.Cert, maxCertificates)
	if err != nil {
		return nil, err
	}
	key, err := readUpTo(f.Key, maxCertificates)
	if err != nil {
		return nil, err
	}
	c, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", f.Cert, f.Key, err)
	}
	return &c, nil
}

// replaced says whether a file is another one, or was written since.
func replaced(before, now os.FileInfo) bool {
	return !os.SameFile(before, now) || !before.ModTime().Equal(now.ModTime()) || before.Size() != now.Size()
}
