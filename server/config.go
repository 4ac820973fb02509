package server

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/atolldb/atoll/internal/store/badgerstore"
)

// ErrConfig says that a configuration cannot be used; the text says what is
// wrong and what is right.
var ErrConfig = errors.New("configuration")

// Config describes one member. The zero value of a field is its default.
type Config struct {
	// Cluster names the cluster; members of different clusters never meet.
	// Default "atoll".
	Cluster string `toml:"cluster"`
	// Name is the member's name, unique in the cluster. Default: the region's;
	// required of a member that joins others.
	Name string `toml:"name"`
	// Region is the region that the member stands in. Required.
	Region string `toml:"region"`
	// Data is the directory of everything that the member keeps. Required.
	Data string `toml:"data"`

	Listen Listen `toml:"listen"`

	// Join lists route addresses, host:port, of other members of the own
	// region; one that is up is enough.
	Join []string `toml:"join"`
	// Regions lists gateway addresses, host:port, of members of every other
	// region, by the region's name.
	Regions map[string][]string `toml:"regions"`

	// Shards is the number of shards of the cluster, fixed when its first
	// member starts. Default 256.
	Shards int `toml:"shards"`
	// Secret keys the digests by which members compare their data. It must be
	// the same in the whole cluster; without one, digests are keyed by the
	// cluster's name alone.
	Secret string `toml:"secret"`
	// Durability is "fsync", the default: a write is on disk before it is
	// acknowledged; or "os": it is in the operating system's memory, and power
	// loss may take it back.
	Durability string `toml:"durability"`
	// LogLimit is how many events of each writer the log of a shard keeps for
	// peers that were away. Default 1024.
	LogLimit int `toml:"log_limit"`
	// ScrubInterval is the time between two scrubs, which compare all that is
	// stored with its digests and repair what is damaged. Default 24 h; a
	// negative one is never.
	ScrubInterval time.Duration `toml:"scrub_interval"`
	// ScrubRate bounds what a scrub reads, in MiB per second. Default 16.
	ScrubRate int `toml:"scrub_rate"`

	// GatewayAdvertise is the gateway address that other regions are told, if
	// it is not the one that the member listens on.
	GatewayAdvertise string `toml:"gateway_advertise"`

	// SolicitDelay is how long after its start a member first connects to
	// other regions. Default 1 s; tests and demonstrations set a few ms.
	SolicitDelay time.Duration `toml:"-"`
	// GossipInterval is how often a member tells the others what it has.
	// Default 1 s.
	GossipInterval time.Duration `toml:"-"`
}

// Listen is where a member listens, as host:port; port 0 is any that is free.
type Listen struct {
	Client  string `toml:"client"`  // applications and crdtctl. Default 127.0.0.1:4222
	Route   string `toml:"route"`   // members of the own region. Default 127.0.0.1:0
	Gateway string `toml:"gateway"` // members of other regions. Default 127.0.0.1:0
}

// LoadConfig reads a configuration file in TOML. A field that it does not
// know is an error.
func LoadConfig(path string) (Config, error) {
	var c Config
	meta, err := toml.DecodeFile(path, &c)
	var syntax toml.ParseError
	switch {
	case errors.As(err, &syntax):
		return c, fmt.Errorf("%w: %s, line %d: %s", ErrConfig, path, syntax.Position.Line, syntax.Message)
	case errors.Is(err, fs.ErrNotExist):
		return c, fmt.Errorf("%w: there is no file %s", ErrConfig, path)
	case err != nil:
		return c, fmt.Errorf("%w: %s: %s", ErrConfig, path, inWords(err))
	}
	if kind := meta.Type("regions"); kind != "" && kind != "Hash" { // the decoder lets it pass
		return c, fmt.Errorf("%w: %s: regions takes a table, and this is of type %s", ErrConfig, path, strings.ToLower(kind))
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return c, fmt.Errorf("%w: %s: unknown field %q", ErrConfig, path, unknown[0].String())
	}
	return c, nil
}

// inWords returns an error of the decoder without the words of Go. It has no
// fields to read for a value of the wrong type.
func inWords(err error) string {
	return strings.NewReplacer(
		"toml: ", "", "last key ", "",
		"incompatible types: TOML value has type", "this is of type", "destination has type", "it takes type",
		"type mismatch for server.Listen: expected table but found", "it takes a table, and this is of type",
		"slice", "list", "int64", "integer", "float64", "decimal", "\n", " ",
	).Replace(err.Error())
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// withDefaults fills in defaults and checks the rest, as far as this package
// knows better than those it hands them to.
func (c Config) withDefaults() (Config, error) {
	named := c.Name != ""
	c.Cluster = cmp.Or(c.Cluster, "atoll")
	c.Name = cmp.Or(c.Name, c.Region)
	c.Listen.Client = cmp.Or(c.Listen.Client, "127.0.0.1:4222")
	c.Listen.Route = cmp.Or(c.Listen.Route, "127.0.0.1:0")
	c.Listen.Gateway = cmp.Or(c.Listen.Gateway, "127.0.0.1:0")
	c.Durability = cmp.Or(c.Durability, string(badgerstore.Fsync))
	switch {
	case c.Region == "":
		return c, fmt.Errorf("%w: no region given; name the region that this member stands in", ErrConfig)
	case len(c.Join) > 0 && !named: // the others would not let in a namesake, and it would be alone
		return c, fmt.Errorf("%w: a member that joins others needs a name of its own", ErrConfig)
	case c.Data == "":
		return c, fmt.Errorf("%w: no data directory given", ErrConfig)
	case c.Shards < 0 || c.Shards > 1<<16:
		return c, fmt.Errorf("%w: %d shards; it takes 1 to 65536", ErrConfig, c.Shards)
	case c.LogLimit < 0:
		return c, fmt.Errorf("%w: a log limit of %d events; it takes at least 1", ErrConfig, c.LogLimit)
	case c.ScrubRate < 0 || c.ScrubRate > 1<<20:
		return c, fmt.Errorf("%w: a scrub rate of %d MiB per second; it takes 1 to 1048576", ErrConfig, c.ScrubRate)
	case c.Durability != string(badgerstore.Fsync) && c.Durability != string(badgerstore.OS):
		return c, fmt.Errorf("%w: durability %q; it is \"fsync\" or \"os\"", ErrConfig, c.Durability)
	}
	if _, own := c.Regions[c.Region]; own {
		return c, fmt.Errorf("%w: the own region %q is among the other regions; its members go into join", ErrConfig, c.Region)
	}
	if err := c.checkNames(); err != nil {
		return c, err
	}
	return c, c.checkAddresses()
}

func (c Config) checkNames() error {
	names := [][2]string{{"cluster", c.Cluster}, {"region", c.Region}, {"member", c.Name}}
	for _, region := range c.otherRegions() {
		names = append(names, [2]string{"region", region})
	}
	for _, name := range names {
		if !namePattern.MatchString(name[1]) {
			return fmt.Errorf("%w: the %s name %q is not 1 to 64 letters, digits, - or _", ErrConfig, name[0], name[1])
		}
	}
	return nil
}

// checkAddresses checks what the network would refuse as well, but in words
// that are not those of a configuration, and after the data directory is made.
func (c Config) checkAddresses() error {
	addresses := [][2]string{
		{"clients", c.Listen.Client}, {"routes", c.Listen.Route}, {"gateways", c.Listen.Gateway},
	}
	for i, a := range addresses {
		if err := checkAddress("to listen for "+a[0], a[1], 0); err != nil {
			return err
		}
		for _, b := range addresses[:i] {
			if a[1] == b[1] && !strings.HasSuffix(a[1], ":0") {
				return fmt.Errorf("%w: the addresses to listen for %s and %s are both %q", ErrConfig, b[0], a[0], a[1])
			}
		}
	}
	if c.GatewayAdvertise != "" {
		if err := checkAddress("to advertise", c.GatewayAdvertise, 1); err != nil {
			return err
		}
	}
	for _, address := range c.Join {
		if err := checkAddress("to join", address, 1); err != nil {
			return err
		}
	}
	for _, region := range c.otherRegions() {
		if len(c.Regions[region]) == 0 {
			return fmt.Errorf("%w: the region %q has no address", ErrConfig, region)
		}
		for _, address := range c.Regions[region] {
			if err := checkAddress("of region "+region, address, 1); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkAddress(what, address string, lowest int) error {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%w: the address %s, %q, is not HOST:PORT", ErrConfig, what, address)
	}
	if host == "" {
		return fmt.Errorf("%w: the address %s, %q, has no host; 127.0.0.1 is this machine, 0.0.0.0 all its interfaces", ErrConfig, what, address)
	}
	if port, err := strconv.Atoi(text); err != nil || port < lowest || port > 65535 {
		return fmt.Errorf("%w: the address %s, %q, has a port that is not a number from %d to 65535", ErrConfig, what, address, lowest)
	}
	return nil
}

// otherRegions returns the names of the other regions in order.
func (c Config) otherRegions() []string {
	names := make([]string, 0, len(c.Regions))
	for name := range c.Regions {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// digestKey derives the key of Merkle digests, which is the same in every
// member of the cluster.
func (c Config) digestKey() [32]byte {
	return sha256.Sum256([]byte("atoll digest key\x00" + c.Cluster + "\x00" + c.Secret))
}

// prepareData makes the data directory.
func (c Config) prepareData() error {
	err := os.MkdirAll(c.Data, 0o700)
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return fmt.Errorf("%w: the data directory %s cannot be made: %s: %w", ErrConfig, c.Data, path.Path, path.Err)
	}
	return err
}
