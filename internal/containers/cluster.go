package containers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// label is on everything that this package makes, with the time when.
const label = "atoll.containers"

// staleAfter is the age from which on what has the label is of a run that cannot
// remove it any more.
const staleAfter = time.Hour

func now() string { return strconv.FormatInt(time.Now().Unix(), 10) }

// Cluster is members in regions: a network for each region, in which clients
// reach it, and one between the regions.
type Cluster struct {
	// Name is the prefix of everything's name.
	Name string
	// Members are in the order of Add.
	Members []*Member

	engine  *Engine
	regions []string
	locks   locks
	images  []string
}

// New makes the networks of a cluster. Close must be called, also after an error.
func New(ctx context.Context, e *Engine, regions []string) (*Cluster, error) {
	c := &Cluster{
		Name: fmt.Sprintf("atoll-test-%08x", rand.Uint32()), engine: e, regions: regions,
	}
	var err error
	if c.locks, err = newLocks(); err != nil {
		return c, err
	}
	if err := e.sweep(ctx, func(made string) bool {
		unix, err := strconv.ParseInt(made, 10, 64)
		return err == nil && time.Since(time.Unix(unix, 0)) > staleAfter
	}); err != nil {
		return c, err
	}
	for _, region := range regions {
		if _, err := e.do(ctx, "network", "create", "--label", label+"="+now(), c.network(region)); err != nil {
			return c, err
		}
	}
	if _, err := e.do(ctx, "volume", "create", "--label", label+"="+now(), c.backups()); err != nil {
		return c, err
	}
	_, err = e.do(ctx, "network", "create", "--internal", "--label", label+"="+now(), c.network(between))
	return c, err
}

// between is the network between the regions.
const between = "between"

// backups is the volume that backups of members are on.
func (c *Cluster) backups() string { return c.Name + "-backups" }

func (c *Cluster) network(name string) string { return c.Name + "-" + name }

// Image makes an image that Close removes.
func (c *Cluster) Image(ctx context.Context, dockerfile, root, note string) (tag string, err error) {
	tag = "atoll-test:" + strings.TrimPrefix(c.Name, "atoll-test-") + "-" + note
	c.images = append(c.images, tag)
	return tag, c.engine.Image(ctx, dockerfile, root, tag, note)
}

// Add lays out a member of a region, which joins those that are there. The disk
// is a volume; with a size in MiB it is one in memory that has no more, and
// forgets all when the member stops.
func (c *Cluster) Add(ctx context.Context, region, name, image string, disk int) (*Member, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	m := &Member{Name: name, Region: region, Client: address, Image: image, cluster: c, container: c.Name + "-" + name}
	volume := []string{"volume", "create", "--label", label + "=" + now()}
	if disk > 0 {
		volume = append(volume, "--opt", "type=tmpfs", "--opt", "device=tmpfs",
			"--opt", fmt.Sprintf("o=size=%dm,uid=65532,gid=65532,mode=0700", disk))
	}
	if _, err := c.engine.do(ctx, append(volume, m.container)...); err != nil {
		return nil, err
	}
	c.Members = append(c.Members, m)
	return m, nil
}

// Named returns the member of a name.
func (c *Cluster) Named(name string) *Member {
	return c.Members[slices.IndexFunc(c.Members, func(m *Member) bool { return m.Name == name })]
}

// In returns the members of a region.
func (c *Cluster) In(region string) []*Member {
	return slices.DeleteFunc(slices.Clone(c.Members), func(m *Member) bool { return m.Region != region })
}

// Cut takes a region off the network between the regions, and Heal puts it back.
func (c *Cluster) Cut(ctx context.Context, region string) error {
	for _, m := range c.In(region) {
		if _, err := c.engine.do(ctx, "network", "disconnect", c.network(between), m.container); err != nil {
			return err
		}
	}
	return nil
}

// Heal undoes Cut.
func (c *Cluster) Heal(ctx context.Context, region string) error {
	for _, m := range c.In(region) {
		if err := m.connect(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Close removes all that the cluster has made.
func (c *Cluster) Close(ctx context.Context) error {
	var errs []error
	remove := func(kind string, args ...string) {
		_, err := c.engine.do(ctx, append(strings.Fields(kind), args...)...)
		errs = append(errs, err)
	}
	var made []string
	volumes := []string{c.backups()}
	for _, m := range c.Members {
		if m.created {
			made = append(made, m.container)
		}
		volumes = append(volumes, m.container)
	}
	if len(made) > 0 {
		remove("container rm --force", made...)
	}
	remove("volume rm --force", volumes...)
	networks, err := c.engine.words(ctx, "network", "ls", "--quiet", "--filter", "name=^"+c.Name+"-")
	errs = append(errs, err)
	if len(networks) > 0 {
		remove("network rm", networks...)
	}
	for _, tag := range c.images {
		remove("image rm --force", tag)
	}
	if c.locks.dir != "" {
		errs = append(errs, os.RemoveAll(c.locks.dir))
	}
	return errors.Join(errs...)
}

// sweep removes what has the label with a value that is meant.
func (e *Engine) sweep(ctx context.Context, meant func(made string) bool) error {
	var errs []error
	for _, kind := range []struct{ list, id, remove string }{
		{"container ls --all", "{{.ID}}", "container rm --force"},
		{"network ls", "{{.ID}}", "network rm"},
		{"volume ls", "{{.Name}}", "volume rm"},
	} {
		args := append(strings.Fields(kind.list), "--filter", "label="+label, "--format", kind.id+` {{.Label "`+label+`"}}`)
		found, err := e.words(ctx, args...)
		errs = append(errs, err)
		for i := 0; i+1 < len(found); i += 2 {
			if meant(found[i+1]) {
				_, err := e.do(ctx, append(strings.Fields(kind.remove), found[i])...)
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// freeAddress returns an address of this machine where nobody listens now, below
// the ports that systems hand out by themselves.
func freeAddress() (string, error) {
	for range 100 {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(10_000+rand.IntN(22_000))))
		if err == nil {
			return l.Addr().String(), l.Close()
		}
	}
	return "", errors.New("containers: hardly a port is free")
}
