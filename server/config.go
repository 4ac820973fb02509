package server

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/atolldb/atoll/internal/membership"
	"github.com/atolldb/atoll/internal/ring"
	"github.com/atolldb/atoll/internal/store"
	"github.com/atolldb/atoll/internal/store/badgerstore"
	"github.com/atolldb/atoll/replica"
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
	// Zone names what the member fails together with, such as a rack. The owners
	// of a shard stand in distinct zones, as far as there are some.
	Zone string `toml:"zone"`
	// Weight is how much the member is to hold, relative to others. Default 1, at
	// most 256.
	Weight int `toml:"weight"`
	// Data is the directory of everything that the member keeps. Required.
	Data string `toml:"data"`

	Listen Listen `toml:"listen"`

	// Join lists addresses, host:port, of other members: where one of any region
	// serves applications, which then names all others, or the route address of
	// one of the own region, which may come up later. One is enough.
	Join []string `toml:"join"`
	// Regions lists gateway addresses, host:port, of members of every other
	// region, by the region's name.
	Regions map[string][]string `toml:"regions"`

	// Shards is the number of shards of the cluster, fixed when its first
	// member starts. Default 256.
	Shards int `toml:"shards"`
	// Secret keys the digests by which members compare their data, and all that
	// members prove to each other who they are with. It must be the same in the
	// whole cluster; without one, digests are keyed by the cluster's name alone.
	Secret string `toml:"secret"`
	// SecretFile is a file that holds it.
	SecretFile string `toml:"secret_file"`
	// TLSCA, TLSCert and TLSKey are files, in PEM: of the authority that vouches for
	// members, of the member's certificate and its key. With them the member lets
	// in those only who prove who they are; that takes a secret, too.
	TLSCA   string `toml:"tls_ca"`
	TLSCert string `toml:"tls_cert"`
	TLSKey  string `toml:"tls_key"`
	// Insecure lets a member without these listen beyond loopback: whoever reaches
	// it there reads and writes everything.
	Insecure bool `toml:"insecure"`
	// Durability is "fsync", the default: a write is on disk before it is
	// acknowledged; or "os": it is in the operating system's memory, and power
	// loss may take it back.
	Durability string `toml:"durability"`
	// LogLimit is how many events of each writer the log of a shard keeps for
	// peers that were away. Default 1024.
	LogLimit int `toml:"log_limit"`
	// ScrubInterval is the time between two scrubs, which compare all that is
	// stored with its digests and repair what is damaged. Default 24 h. In a file
	// 0 is never; here, as the zero value is the default, that is Never.
	ScrubInterval time.Duration `toml:"scrub_interval"`
	// ScrubRate bounds what a scrub reads, in MiB per second. Default 16.
	ScrubRate int `toml:"scrub_rate"`

	// JoinRate bounds what the member takes over of shards that it is to own, in
	// MiB per second. Default 64.
	JoinRate int `toml:"join_rate"`
	// HintLimit bounds what the member keeps of writes that it took in place of
	// owners which could not be reached, in MiB of events; it refuses more. Default 64.
	HintLimit int `toml:"hint_limit"`

	// Heartbeat is the time between two heartbeats of a member, the same in the
	// whole cluster. Default 250 ms.
	Heartbeat time.Duration `toml:"heartbeat"`
	// Phi is the level of suspicion from which a member is suspect, by the
	// rhythm of its heartbeats: at 8, it happens by chance once in 10^8 times.
	// Default 8.
	Phi float64 `toml:"phi"`
	// DownAfter is how long a member must have been silent before a majority
	// can find it down. Default 3 s.
	DownAfter time.Duration `toml:"down_after"`

	// GatewayAdvertise is the gateway address that other regions are told, if
	// it is not the one that the member listens on.
	GatewayAdvertise string `toml:"gateway_advertise"`

	// NATS lists servers of an existing NATS deployment, those of the own region
	// first, which the member uses instead of one of its own: nats://HOST:PORT or
	// tls://HOST:PORT, with USER:PASSWORD@ or TOKEN@ before the host if that is how
	// to log in. Nothing is said then of where to listen, and of other members:
	// they are all who are met there.
	NATS []string `toml:"nats"`
	// NATSCredentials is a file with a JWT and its seed to log in with there,
	// NATSNkey one with the seed of an nkey.
	NATSCredentials string `toml:"nats_creds"`
	NATSNkey        string `toml:"nats_nkey"`
	// NATSCA is a file with who vouches for those servers, if not the system's
	// authorities do; NATSCert and NATSKey are what the member shows of itself.
	NATSCA   string `toml:"nats_ca"`
	NATSCert string `toml:"nats_cert"`
	NATSKey  string `toml:"nats_key"`

	// ClockOffset is how far the clock of the member is ahead of the machine's.
	// For tests of what a wrong clock does.
	ClockOffset time.Duration `toml:"-"`

	// Pprof has profiles of the process served on Listen.HTTP, too.
	Pprof bool `toml:"pprof"`
	// LogLevel is the level of the logger that the member is started with, if it
	// is to be changed through Listen.HTTP. The caller's.
	LogLevel *slog.LevelVar `toml:"-"`

	asked []string // members that were asked who there is
	met   *meeting // who was met at the servers of NATS; nil: not there
	// Whether somebody said so; otherwise it is as the data directory has it.
	clusterNamed, shardsNamed bool
	// SolicitDelay is how long after its start a member first connects to
	// other regions. Default 1 s; tests and demonstrations set a few ms.
	SolicitDelay time.Duration `toml:"-"`
	// GossipInterval is how often a member tells the others what it has.
	// Default 1 s.
	GossipInterval time.Duration `toml:"-"`
}

// Never is the ScrubInterval of a member that does not scrub by itself.
const Never time.Duration = -1

// Listen is where a member listens, as host:port; port 0 is any that is free.
type Listen struct {
	Client  string `toml:"client"`  // applications and crdtctl. Default 127.0.0.1:4222
	Route   string `toml:"route"`   // members of the own region. Default 127.0.0.1:0
	Gateway string `toml:"gateway"` // members of other regions. Default 127.0.0.1:0
	HTTP    string `toml:"http"`    // metrics, health, profiles. Default: nowhere
}

// LoadConfig reads a configuration file in TOML. A field that it does not
// know is an error.
func LoadConfig(path string) (Config, error) {
	var c Config
	meta, err := toml.DecodeFile(path, &c)
	var syntax toml.ParseError
	var unread *fs.PathError
	switch {
	case errors.As(err, &syntax):
		return c, fmt.Errorf("%w: %s, line %d: %s", ErrConfig, path, syntax.Position.Line, syntax.Message)
	case errors.Is(err, fs.ErrNotExist):
		return c, fmt.Errorf("%w: there is no file %s", ErrConfig, path)
	case errors.As(err, &unread): // whose words are not the decoder's
		return c, fmt.Errorf("%w: %s cannot be read: %w", ErrConfig, path, unread.Err)
	case err != nil:
		return c, fmt.Errorf("%w: %s: %s", ErrConfig, path, inWords(err))
	}
	if kind := meta.Type("regions"); kind != "" && kind != "Hash" { // the decoder lets it pass
		return c, fmt.Errorf("%w: %s: regions takes a table, and this is of type %s", ErrConfig, path, strings.ToLower(kind))
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return c, fmt.Errorf("%w: %s: unknown field %q; there are %s", ErrConfig, path, unknown[0].String(), strings.Join(fieldNames("", reflect.TypeFor[Config]()), ", "))
	}
	for name, n := range map[string]int{"shards": c.Shards, "log_limit": c.LogLimit, "scrub_rate": c.ScrubRate, "join_rate": c.JoinRate, "hint_limit": c.HintLimit, "weight": c.Weight} {
		if meta.IsDefined(name) && n < 1 { // a zero would be taken for the default
			return c, fmt.Errorf("%w: %s: %s is %d; it takes at least 1", ErrConfig, path, name, n)
		}
	}
	for name, isZero := range map[string]bool{"heartbeat": c.Heartbeat == 0, "down_after": c.DownAfter == 0, "phi": c.Phi == 0} {
		if meta.IsDefined(name) && isZero {
			return c, fmt.Errorf("%w: %s: %s is 0; it takes more", ErrConfig, path, name)
		}
	}
	if meta.IsDefined("scrub_interval") && c.ScrubInterval == 0 {
		c.ScrubInterval = Never
	}
	return c, nil
}

// fieldNames returns the fields of a struct as a configuration file names them.
func fieldNames(prefix string, t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		switch name := t.Field(i).Tag.Get("toml"); {
		case name == "-", name == "": // no field of a file
		case t.Field(i).Type.Kind() == reflect.Struct:
			names = append(names, fieldNames(prefix+name+".", t.Field(i).Type)...)
		default:
			names = append(names, prefix+name)
		}
	}
	return names
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

// maxShards is the largest number of shards that a cluster has.
const maxShards = 1<<16 - 1

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// withDefaults fills in defaults and checks the rest, as far as this package
// knows better than those it hands them to.
func (c Config) withDefaults() (Config, error) {
	named := c.Name != ""
	c.Cluster = cmp.Or(c.Cluster, "atoll")
	c.Name = cmp.Or(c.Name, c.Region)
	if len(c.NATS) == 0 {
		c.Listen.Client = cmp.Or(c.Listen.Client, "127.0.0.1:4222")
		c.Listen.Route = cmp.Or(c.Listen.Route, "127.0.0.1:0")
		c.Listen.Gateway = cmp.Or(c.Listen.Gateway, "127.0.0.1:0")
	}
	c.Weight = cmp.Or(c.Weight, 1)
	c.Durability = cmp.Or(c.Durability, string(badgerstore.Fsync))
	switch {
	case c.Region == "":
		return c, fmt.Errorf("%w: no region given; name the region that this member stands in", ErrConfig)
	case len(c.Join) > 0 && !named: // the others would not let in a namesake, and it would be alone
		return c, fmt.Errorf("%w: a member that joins others needs a name of its own", ErrConfig)
	case c.Data == "":
		return c, fmt.Errorf("%w: no data directory given", ErrConfig)
	case c.Shards < 0 || c.Shards > maxShards:
		return c, fmt.Errorf("%w: %d shards; it takes 1 to %d", ErrConfig, c.Shards, maxShards)
	case c.LogLimit < 0:
		return c, fmt.Errorf("%w: a log limit of %d events; it takes at least 1", ErrConfig, c.LogLimit)
	case c.ScrubInterval < Never:
		return c, fmt.Errorf("%w: a scrub interval of %v; it takes a time such as 24h, or 0 for never", ErrConfig, c.ScrubInterval)
	case c.ScrubRate < 0 || c.ScrubRate > 1<<20:
		return c, fmt.Errorf("%w: a scrub rate of %d MiB per second; it takes 1 to 1048576", ErrConfig, c.ScrubRate)
	case c.JoinRate < 0 || c.JoinRate > 1<<20:
		return c, fmt.Errorf("%w: a rate of %d MiB per second for taking over; it takes 1 to 1048576", ErrConfig, c.JoinRate)
	case c.HintLimit < 0 || c.HintLimit > 1<<20:
		return c, fmt.Errorf("%w: a limit of %d MiB for writes in place of owners; it takes 1 to 1048576", ErrConfig, c.HintLimit)
	case c.Weight < 1 || c.Weight > ring.MaxWeight:
		return c, fmt.Errorf("%w: a weight of %d; it takes 1 to %d", ErrConfig, c.Weight, ring.MaxWeight)
	case c.Zone != "" && !namePattern.MatchString(c.Zone):
		return c, fmt.Errorf("%w: the zone name %q is not 1 to 64 letters, digits, - or _", ErrConfig, c.Zone)
	case c.Durability != string(badgerstore.Fsync) && c.Durability != string(badgerstore.OS):
		return c, fmt.Errorf("%w: durability %q; it is \"fsync\" or \"os\"", ErrConfig, c.Durability)
	case c.Pprof && c.Listen.HTTP == "":
		return c, fmt.Errorf("%w: profiles are served by HTTP, and no address to listen for HTTP is given", ErrConfig)
	}
	if err := c.heartbeats().Validate(); err != nil {
		return c, fmt.Errorf("%w: %s", ErrConfig, strings.TrimPrefix(err.Error(), "membership: "))
	}
	if _, own := c.Regions[c.Region]; own {
		return c, fmt.Errorf("%w: the own region %q is among the other regions; its members go into join", ErrConfig, c.Region)
	}
	if err := c.checkNames(); err != nil {
		return c, err
	}
	if err := c.checkAttached(named); err != nil {
		return c, err
	}
	if err := c.checkAddresses(); err != nil {
		return c, err
	}
	return c, c.checkLock()
}

// heartbeats returns what the configuration says of the detector of failures.
func (c Config) heartbeats() membership.Config {
	return membership.Config{Interval: c.Heartbeat, Phi: c.Phi, Patience: c.DownAfter}
}

func (c Config) checkNames() error {
	names := [][2]string{{"cluster", c.Cluster}, {"region", c.Region}, {"member", c.Name}}
	for _, region := range c.otherRegions() {
		names = append(names, [2]string{"region", region})
	}
	for _, name := range names {
		if err := checkName(name[0], name[1]); err != nil {
			return err
		}
	}
	return nil
}

func checkName(of, name string) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("%w: the %s name %q is not 1 to 64 letters, digits, - or _", ErrConfig, of, name)
	}
	return nil
}

// checkAddresses checks what the network would refuse as well, but in words
// that are not those of a configuration, and after the data directory is made.
func (c Config) checkAddresses() error {
	addresses := [][2]string{
		{"clients", c.Listen.Client}, {"routes", c.Listen.Route}, {"gateways", c.Listen.Gateway},
	}
	if c.Listen.HTTP != "" {
		addresses = append(addresses, [2]string{"HTTP", c.Listen.HTTP})
	}
	if c.attached() {
		addresses = addresses[3:]
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

// adopt takes what nobody has said of the cluster from what the data directory
// was made for, if it was.
func (c *Config) adopt(s store.Store) error {
	cluster, shards, err := replica.MadeFor(s)
	if err != nil || shards == 0 {
		return err
	}
	if !c.clusterNamed {
		c.Cluster = cluster
	}
	if !c.shardsNamed {
		c.Shards = shards
	}
	return nil
}

// prepareData makes the data directory.
func (c Config) prepareData() error {
	err := os.MkdirAll(c.Data, 0o700)
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return fmt.Errorf("%w: the data directory %s cannot be made: %s: %w", ErrConfig, c.Data, path.Path, path.Err)
	}
	return err
}
