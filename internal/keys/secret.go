package keys

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nkeys"
)

// LeastSecret is how many bytes the secret of a locked cluster has at least.
const LeastSecret = 16

// Whose keys follow from the secret.
const (
	// Member is the name under which members log in at one another.
	Member = "member"
	// Root is the user who may do everything, before there are others.
	Root = "root"
)

// Secret is the secret of a cluster. Who has it can do everything: all else
// follows from it, by HKDF (RFC 5869), each for a purpose of its own.
type Secret string

// NewSecret draws a secret.
func NewSecret() Secret { return Secret(rand.Text()) }

// ReadSecret reads a secret from a file, without the space around it.
func ReadSecret(path string) (Secret, error) {
	text, err := readSmall(path)
	if err == nil && strings.TrimSpace(text) == "" {
		err = fmt.Errorf("%s is empty", path)
	}
	return Secret(strings.TrimSpace(text)), err
}

// Check says what is wrong with the secret of a locked cluster.
func (s Secret) Check() error {
	if len(s) < LeastSecret {
		return fmt.Errorf("a secret of %d bytes can be guessed; it takes at least %d", len(s), LeastSecret)
	}
	return nil
}

// Password returns the password for a purpose.
func (s Secret) Password(purpose string) (string, error) {
	derived, err := s.derive("password of " + purpose)
	return hex.EncodeToString(derived), err
}

// Key returns the key of Member or Root.
func (s Secret) Key(user string) (*Key, error) {
	if user != Member && user != Root {
		return nil, errors.New("keys: the secret has the keys of " + Member + " and " + Root + " only")
	}
	seed, err := s.derive("key of " + user)
	if err != nil {
		return nil, err
	}
	encoded, err := nkeys.EncodeSeed(nkeys.PrefixByteUser, seed)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	pair, err := nkeys.FromSeed(encoded)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	return newKey(user, pair)
}

func (s Secret) derive(purpose string) ([]byte, error) {
	derived, err := hkdf.Key(sha256.New, []byte(s), []byte("atoll"), purpose, 32)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	return derived, nil
}
