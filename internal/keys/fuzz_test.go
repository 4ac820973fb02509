package keys_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/internal/allocs"
	"github.com/atolldb/atoll/internal/keys"
)

// refuses checks that an error is one line that names the file.
func refuses(t *testing.T, err error, path string) {
	t.Helper()
	if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), path) {
		t.Errorf("the error is not one line that names the file: %q", err)
	}
}

// FuzzRead: a file is the key of a user, and then it is what a key writes of
// itself, or it is refused in a line that tells nothing of a seed in it.
func FuzzRead(f *testing.F) {
	k, err := keys.New("web")
	if err != nil {
		f.Fatal(err)
	}
	file := k.File()
	f.Add(file)
	f.Add(file[:len(file)-2])
	f.Add(bytes.ToLower(file))
	f.Add([]byte("web SUnonsense\n"))
	f.Add([]byte("# a comment without an end"))
	path := filepath.Join(f.TempDir(), "web.key")
	f.Fuzz(func(t *testing.T, file []byte) {
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		allocs.Check(t, len(file), 1<<20, 400, func() {
			secret, err := keys.ReadSecret(path)
			if err != nil {
				refuses(t, err, path)
			} else if s := string(secret); s == "" || s != strings.TrimSpace(string(file)) {
				t.Errorf("the secret of %q is %q", file, s)
			}
			k, err := keys.Read(path)
			if err != nil {
				refuses(t, err, path)
				for _, word := range strings.Fields(string(file)) {
					if len(word) > 20 && strings.Contains(err.Error(), word) {
						t.Errorf("the error tells of a seed: %v", err)
					}
				}
				return
			}
			if err := os.WriteFile(path, k.File(), 0o600); err != nil {
				t.Fatal(err)
			}
			again, err := keys.Read(path)
			if err != nil || again.User != k.User || again.Public() != k.Public() {
				t.Errorf("%q is the key of %q, which is that of %+v, %v", file, k.User, again, err)
			}
		})
	})
}

// FuzzCertificates puts bytes into the files of an authority and of a member. A
// certificate is made, or members and clients know each other by them, or the
// files are refused in one line.
func FuzzCertificates(f *testing.F) {
	files, err := keys.Certify(f.TempDir(), "member", []string{"127.0.0.1"}, 1, time.Now())
	if err != nil {
		f.Fatal(err)
	}
	read := func(path string) []byte {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		return text
	}
	ca, cert, key := read(files.CA), read(files.Cert), read(files.Key)
	caKey := read(filepath.Join(filepath.Dir(files.CA), "ca.key"))
	f.Add(ca, caKey, cert, key)
	f.Add(cert, key, ca, caKey)
	f.Add(bytes.ReplaceAll(ca, []byte("CERTIFICATE"), []byte("NONSENSE")), caKey[:40], append(cert, ca...), key)
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), []byte{}, key, cert)
	dir := f.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	of := keys.Files{CA: in("ca.crt"), Cert: in("m.crt"), Key: in("m.key")}
	f.Fuzz(func(t *testing.T, ca, caKey, cert, key []byte) {
		for path, text := range map[string][]byte{of.CA: ca, in("ca.key"): caKey, of.Cert: cert, of.Key: key} {
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		allocs.Check(t, len(ca)+len(caKey)+len(cert)+len(key), 1<<20, 400, func() {
			_, clients := of.Clients()
			_, members := of.Members()
			_, client := keys.Client(of.CA)
			if (members == nil) != (clients == nil && client == nil) {
				t.Errorf("members: %v; clients: %v, %v", members, clients, client)
			}
			check := of.Check(time.Now())
			if check == nil && members != nil {
				t.Errorf("nothing is wrong with files of which it says %v", members)
			}
			_, made := keys.Certify(dir, "m", []string{"127.0.0.1"}, 1, time.Now())
			for _, err := range []error{clients, members, client, check, made} {
				if err != nil && strings.Contains(err.Error(), "\n") {
					t.Errorf("the error is not one line: %q", err)
				}
			}
		})
	})
}

// TestFileWithoutEnd: of a file that says to be empty and never ends, no more is
// read than one of its kind has.
func TestFileWithoutEnd(t *testing.T) {
	if _, err := os.Stat("/dev/zero"); err != nil {
		t.Skip("there is no /dev/zero")
	}
	for name, read := range map[string]func(path string) error{
		"a key":        func(path string) error { _, err := keys.Read(path); return err },
		"a secret":     func(path string) error { _, err := keys.ReadSecret(path); return err },
		"an authority": func(path string) error { _, err := keys.Client(path); return err },
		"a member": func(path string) error {
			return keys.Files{CA: path, Cert: path, Key: path}.Check(time.Now())
		},
	} {
		allocs.Check(t, 64<<10, 1<<20, 400, func() {
			if err := read("/dev/zero"); err == nil || !strings.Contains(err.Error(), "/dev/zero") {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}
