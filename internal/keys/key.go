package keys

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/nats-io/nkeys"
)

// ErrKey says that a file is not one with the key of a user.
var ErrKey = errors.New("not the key of a user")

// maxFile bounds the size of a file with a key or a secret.
const maxFile = 4 << 10

var userName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Key is what a user logs in with.
type Key struct {
	User         string
	public, seed string
	pair         nkeys.KeyPair
}

// New returns a new key for a user.
func New(user string) (*Key, error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	return newKey(user, pair)
}

func newKey(user string, pair nkeys.KeyPair) (*Key, error) {
	public, err := pair.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	seed, err := pair.Seed()
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	return &Key{user, public, string(seed), pair}, nil
}

// Public returns the public key: what a table of users holds.
func (k *Key) Public() string { return k.public }

// Sign signs what a server has drawn, which proves who logs in.
func (k *Key) Sign(nonce []byte) ([]byte, error) { return k.pair.Sign(nonce) }

// Read reads a file that Write made: a line with the user's name and the seed.
// Lines that begin with # are comments.
func Read(path string) (*Key, error) {
	text, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	var fields []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			fields = append(fields, strings.Fields(line)...)
		}
	}
	if len(fields) != 2 || !userName.MatchString(fields[0]) {
		return nil, fmt.Errorf("%w: %s: it has a line with a user's name and the seed of an nkey, and comments", ErrKey, path)
	}
	pair, err := nkeys.FromSeed([]byte(fields[1]))
	if err != nil || !strings.HasPrefix(fields[1], "SU") {
		return nil, fmt.Errorf("%w: %s: what follows the name is not the seed of a user's nkey, which begins with SU", ErrKey, path)
	}
	return newKey(fields[0], pair)
}

// File returns the content of a file with the key.
func (k *Key) File() []byte {
	return fmt.Appendf(nil, "# Whoever has this file is %s. The public key is %s.\n%s %s\n", k.User, k.public, k.User, k.seed)
}

// Write makes a file with the key, which only its owner may read. One that is
// there already is not overwritten.
func (k *Key) Write(path string) error { return Create(path, 0o600, k.File()) }

// Create makes a file that is not there yet.
func Create(path string, mode fs.FileMode, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// readSmall reads a file with a key or a secret.
func readSmall(path string) (string, error) {
	text, err := readUpTo(path, maxFile)
	return string(text), err
}

// readUpTo reads a file that has a number of bytes at most, whatever it says of
// its size.
func readUpTo(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%s has more than the %d bytes that what is to be there has at most", path, most)
	}
	return text, err
}
