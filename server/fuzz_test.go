package server

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzLoadConfig: a configuration file is read, or refused in one line, and so
// is what it says.
func FuzzLoadConfig(f *testing.F) {
	f.Add([]byte("region = \"eu\"\ndata = \"/d\"\nshards = 8\n[listen]\nclient = \"127.0.0.1:0\"\n[regions]\nus = [\"10.0.0.1:7222\"]\n"))
	f.Add([]byte("# nothing\njoin = [\"a:1\", 'b']\nlog_limit = -1\ndurability = \"os\"\n"))
	f.Add([]byte("regions = 3\n"))
	f.Add([]byte("[regions.us]\n"))
	path := filepath.Join(f.TempDir(), "member.toml")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := LoadConfig(path)
		if err == nil {
			_, err = c.withDefaults()
		}
		if err == nil {
			return
		}
		if !errors.Is(err, ErrConfig) || strings.Contains(strings.TrimSpace(err.Error()), "\n") {
			t.Errorf("%q: the error is not one line of ErrConfig: %q", text, err)
		}
	})
}
