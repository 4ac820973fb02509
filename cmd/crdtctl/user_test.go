package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/atolldb/atoll/server"
)

// locked starts a member that lets in only who proves who it is. It returns how
// a command reaches it, and where the keys are.
func locked(t *testing.T) (reach []string, dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "keys")
	if out := crdtctl(t, "", "certs", dir); out.code != exitOK {
		t.Fatal(out.stderr)
	}
	member := start(t, server.Config{
		Region: "eu", SecretFile: filepath.Join(dir, "secret"),
		TLSCA: filepath.Join(dir, "ca.crt"), TLSCert: filepath.Join(dir, "member.crt"), TLSKey: filepath.Join(dir, "member.key"),
	})
	return []string{"--server", member.Addresses().Client, "--ca", filepath.Join(dir, "ca.crt")}, dir
}

func TestUsers(t *testing.T) {
	reach, dir := locked(t)
	as := func(user string, args ...string) output {
		t.Helper()
		return crdtctl(t, "", append(append([]string{"--key", filepath.Join(dir, user+".key")}, reach...), args...)...)
	}
	done := func(out output, want string) {
		t.Helper()
		if out.code != exitOK || !strings.Contains(out.stdout, want) {
			t.Errorf("exit code %d, %q, %q; want %q", out.code, out.stdout, out.stderr, want)
		}
	}
	done(as("root", "user", "list", "--json"), `{"users":[]}`)
	as("root", "user", "set", "web").wantLine(t, exitUsage, "say --role")
	as("root", "user", "set", "web", "--role", "god").wantLine(t, exitUsage, "read, write or admin")
	as("root", "user", "set", "root", "--role", "read").wantLine(t, exitUsage, `neither "-" nor "root"`)
	as("root", "user", "key", "web", filepath.Join(dir, "web.key")).wantLine(t, exitUsage, "make it first")
	done(as("root", "user", "set", "web", "--role", "write", "--prefix", "cart:", "--prefix", "{user:"), "cart: {user:")
	done(as("root", "user", "key", "web", filepath.Join(dir, "web.key")), " U")
	as("root", "user", "key", "web", filepath.Join(dir, "web.key")).wantLine(t, exitUsage, "exists")
	done(as("root", "user", "set", "look", "--role", "read"), "look  read   all")
	// A prefix is what it says, to the last comma and space.
	for prefix, shown := range map[string]string{"tenant:7,": "tenant:7,", ",": ",", "team a ": `"team a "`, " ": `" "`, "": "all"} {
		done(as("root", "user", "set", "exact", "--role", "read", "--prefix", prefix), "exact  read   "+shown+" ")
	}
	done(as("root", "user", "remove", "exact"), "web")
	done(as("root", "user", "key", "look", filepath.Join(dir, "look.key")), "look")

	done(as("web", "counter", "incr", "cart:1"), "1")
	done(as("web", "set", "add", "{user:7}likes", "x"), "1")
	as("web", "counter", "incr", "other").wantLine(t, exitUsage, "forbidden", `may not touch the key "other"`)
	as("web", "counter", "get", "other").wantLine(t, exitUsage, "forbidden")
	as("web", "del", "other").wantLine(t, exitUsage, "forbidden")
	done(as("look", "counter", "get", "cart:1"), "1")
	as("look", "counter", "incr", "cart:1").wantLine(t, exitUsage, "forbidden", "may read only")
	done(as("look", "verify"), "converged")
	done(as("web", "members"), "alive")
	for _, admin := range [][]string{
		{"user", "list"}, {"user", "set", "web", "--role", "admin"}, {"settings", "--owners", "2"}, {"scrub"},
		{"member", "remove", "eu"}, {"member", "decommission", "eu"}, {"backup", filepath.Join(dir, "stolen")},
	} {
		as("web", admin...).wantLine(t, exitUsage, "forbidden", "is no administrator")
	}
	if _, err := os.Stat(filepath.Join(dir, "stolen")); err == nil {
		t.Error("a backup that was refused left a file")
	}

	// Another key, then the first is revoked.
	done(as("root", "user", "key", "web", filepath.Join(dir, "next.key")), "web")
	done(as("next", "counter", "incr", "cart:1"), "2")
	done(as("web", "counter", "incr", "cart:1"), "3")
	text, err := os.ReadFile(filepath.Join(dir, "web.key"))
	if err != nil {
		t.Fatal(err)
	}
	_, public, _ := strings.Cut(string(text), "public key is ")
	public, _, _ = strings.Cut(public, ".")
	done(as("root", "user", "revoke", "web", public), "web")
	as("web", "counter", "get", "cart:1").wantLine(t, exitUsage, "forbidden", "does not know who logs in")
	done(as("next", "counter", "get", "cart:1"), "3")
	as("root", "user", "revoke", "web", public).wantLine(t, exitUsage, "is no key of the user web")
	done(as("root", "user", "remove", "web"), "look")
	as("next", "counter", "get", "cart:1").wantLine(t, exitUsage, "forbidden")
	as("root", "user", "remove", "web").wantLine(t, exitUsage, `no user "web"`)
}

// What is wrong with how somebody logs in is said in one line.
func TestLogIn(t *testing.T) {
	reach, dir := locked(t)
	junk := filepath.Join(dir, "junk")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "root.key")
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no key":         {reach, "does not know who logs in"},
		"no authority":   {[]string{reach[0], reach[1], "--key", root}, "name its file, too"},
		"no TLS":         {reach[:2], "not vouched for"},
		"no such key":    {append([]string{"--key", filepath.Join(dir, "none")}, reach...), "no such file"},
		"junk for a key": {append([]string{"--key", junk}, reach...), "not the key of a user"},
		"a CA that is none": {
			[]string{reach[0], reach[1], "--ca", junk, "--key", root}, "no certificate in PEM"},
		"two logins": {append([]string{"--key", root, "--creds", junk}, reach...), "it takes one"},
		"a user that is none": {
			append([]string{"--user", "a b"}, reach...), "the name of a user"},
	} {
		t.Run(name, func(t *testing.T) {
			crdtctl(t, "", append(test.args, "counter", "get", "k")...).wantLine(t, exitUsage, test.want)
		})
	}
}

func TestCertsRefused(t *testing.T) {
	dir := t.TempDir()
	crdtctl(t, "", "certs").wantLine(t, exitUsage, "DIR")
	crdtctl(t, "", "certs", dir, "--name", "../x").wantLine(t, exitUsage, "--name")
	crdtctl(t, "", "certs", dir, "--days", "0").wantLine(t, exitUsage, "--days")
	for _, host := range []string{"a,b", "", "10.0.0.0/8"} {
		crdtctl(t, "", "certs", dir, "--host", host).wantLine(t, exitUsage, "it takes one name or address")
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	crdtctl(t, "", "certs", dir).wantLine(t, exitFailure, "no CERTIFICATE in PEM")
	if _, err := os.Stat(filepath.Join(dir, "secret")); err == nil {
		t.Error("what failed left a secret")
	}
}

// A certificate that takes the place of another is for the same hosts, unless it is
// said for which.
func TestCertsAgain(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, `"hosts":["localhost","127.0.0.1","::1"]`},
		{[]string{"--host", "10.0.0.1", "--host", "eu-1.example.org"}, `"hosts":["10.0.0.1","eu-1.example.org"]`},
		{nil, `"hosts":["eu-1.example.org","10.0.0.1"]`},
		{[]string{"--name", "other"}, `"hosts":["localhost","127.0.0.1","::1"]`},
		{[]string{"--host", "fd00::1"}, `"hosts":["fd00::1"]`},
		{nil, `"hosts":["fd00::1"]`},
	} {
		out := crdtctl(t, "", append([]string{"certs", dir, "--json"}, test.args...)...)
		if out.code != exitOK || !strings.Contains(out.stdout, test.want) {
			t.Errorf("%q: exit code %d, %s%s; want %s", test.args, out.code, out.stdout, out.stderr, test.want)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "member.crt"), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	crdtctl(t, "", "certs", dir).wantLine(t, exitFailure, "no CERTIFICATE in PEM")
}
