package keys

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// authorityYears is how long an authority vouches for members, and clockSkew how
// far the clock of who looks at a new certificate may be behind.
const (
	authorityYears = 10
	clockSkew      = 10 * time.Minute
)

// Certify makes or replaces NAME.crt and NAME.key in a directory, a certificate for
// members on hosts, names or addresses, for a number of days. The authority that
// vouches for it is in ca.crt and ca.key there, and is made if it is not.
func Certify(dir, name string, hosts []string, days int, now time.Time) (Files, error) {
	files := Files{CA: filepath.Join(dir, "ca.crt"), Cert: filepath.Join(dir, name+".crt"), Key: filepath.Join(dir, name+".key")}
	a, err := openAuthority(files.CA, filepath.Join(dir, "ca.key"), now)
	if err == nil {
		err = a.certify(files, name, hosts, days, now)
	}
	return files, err
}

// authority vouches for the members of a cluster.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// openAuthority reads the authority in two files, or makes it.
func openAuthority(cert, key string, now time.Time) (*authority, error) {
	_, err := os.Stat(cert)
	if errors.Is(err, fs.ErrNotExist) {
		return newAuthority(cert, key, now)
	}
	if err != nil {
		return nil, err
	}
	a := &authority{}
	der, err := readPEM(cert, "CERTIFICATE")
	if err == nil {
		a.certificate, err = x509.ParseCertificate(der)
	}
	if err != nil {
		return nil, err
	}
	if der, err = readPEM(key, "EC PRIVATE KEY"); err == nil {
		a.key, err = x509.ParseECPrivateKey(der)
	}
	if err == nil && !a.key.PublicKey.Equal(a.certificate.PublicKey) {
		err = fmt.Errorf("%s is not the key of %s", key, cert)
	}
	return a, err
}

func newAuthority(cert, key string, now time.Time) (*authority, error) {
	a := &authority{}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Atoll authority"},
		NotBefore: now.Add(-clockSkew), NotAfter: now.AddDate(authorityYears, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err == nil {
		a.certificate, err = x509.ParseCertificate(der)
	}
	if err == nil {
		err = writeKey(key, a.key)
	}
	if err == nil {
		err = Create(cert, 0o644, encode("CERTIFICATE", der))
	}
	return a, err
}

// certify makes or replaces a certificate for members, and its key.
func (a *authority) certify(files Files, name string, hosts []string, days int, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-clockSkew), NotAfter: now.AddDate(0, 0, days),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{MemberName},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		return err
	}
	// Both under other names first: a member that reads in between finds the old
	// certificate, or a pair that does not fit, and keeps what it has.
	for _, path := range []string{files.Cert, files.Key} {
		if err := os.Remove(path + ".new"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	err = writeKey(files.Key+".new", key)
	if err == nil {
		err = Create(files.Cert+".new", 0o644, encode("CERTIFICATE", der))
	}
	if err == nil {
		err = os.Rename(files.Key+".new", files.Key)
	}
	if err == nil {
		err = os.Rename(files.Cert+".new", files.Cert)
	}
	return err
}

// Hosts returns the names and addresses that a member's certificate, in a file, is
// for.
func Hosts(path string) ([]string, error) {
	der, err := readPEM(path, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	hosts := slices.DeleteFunc(certificate.DNSNames, func(name string) bool { return name == MemberName })
	for _, ip := range certificate.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	return hosts, nil
}

func serial() *big.Int {
	n := make([]byte, 16)
	_, _ = rand.Read(n) // it does not fail
	n[0] &= 0x7f
	return new(big.Int).SetBytes(n)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return Create(path, 0o600, encode("EC PRIVATE KEY", der))
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func readPEM(path, kind string) ([]byte, error) {
	text, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("%s holds no %s in PEM", path, kind)
	}
	return block.Bytes, nil
}
