package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/internal/wan"
	"github.com/atolldb/atoll/server"
)

// linkTimeout bounds the wait for the gateways of all regions at the start.
const linkTimeout = 30 * time.Second

// cluster is three regions of one member each, and a client in each.
type cluster struct {
	wan     *wan.Network
	servers map[string]*server.Server
	clients map[string]*client.Client
}

func startCluster(ctx context.Context, dir string, shards int) (_ *cluster, err error) {
	c := &cluster{servers: map[string]*server.Server{}, clients: map[string]*client.Client{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if c.wan, err = wan.New(regions...); err != nil {
		return c, err
	}
	for _, region := range regions {
		addresses := c.wan.Addresses()
		own := addresses[region][0]
		delete(addresses, region)
		member, err := server.Start(ctx, server.Config{
			Cluster: "demo", Region: region, Data: filepath.Join(dir, region), Shards: shards,
			Listen: server.Listen{Client: "127.0.0.1:0"}, Regions: addresses, GatewayAdvertise: own,
			SolicitDelay: 5 * time.Millisecond, GossipInterval: 250 * time.Millisecond,
		}, nil)
		if err != nil {
			return c, fmt.Errorf("starting region %s: %w", region, err)
		}
		c.servers[region] = member
		c.wan.Attach(region, member.Addresses().Gateway)
		connected, err := client.Connect(ctx, client.Options{
			Servers: []string{member.Addresses().Client}, Name: "demo", Timeout: 30 * time.Second,
		})
		if err != nil {
			return c, fmt.Errorf("connecting to region %s: %w", region, err)
		}
		c.clients[region] = connected
	}
	return c, c.waitForLinks(ctx)
}

// waitForLinks returns once every region sends to every other.
func (c *cluster) waitForLinks(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, linkTimeout)
	defer cancel()
	ticks := time.NewTicker(10 * time.Millisecond)
	defer ticks.Stop()
	for !c.linked() {
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return fmt.Errorf("the regions did not find each other: %w", ctx.Err())
		}
	}
	return nil
}

func (c *cluster) linked() bool {
	for _, region := range regions {
		links := c.servers[region].Gateways()
		for _, other := range regions {
			if other != region && (links[other].Outbound == 0 || links[other].Inbound == 0) {
				return false
			}
		}
	}
	return true
}

func (c *cluster) close() error {
	var errs []error
	for _, cl := range c.clients {
		errs = append(errs, cl.Close())
	}
	for _, s := range c.servers {
		errs = append(errs, s.Close())
	}
	if c.wan != nil {
		errs = append(errs, c.wan.Close())
	}
	return errors.Join(errs...)
}

// invite says how to play with the cluster and waits for the end.
func (c *cluster) invite(ctx context.Context, out io.Writer, command string) {
	fmt.Fprintf(out, "\nThe cluster stays up until you press Ctrl-C. In another terminal, for example:\n\n")
	for _, region := range regions {
		fmt.Fprintf(out, "  %s --server %s counter get hits       # region %s\n", command, c.servers[region].Addresses().Client, region)
	}
	eu, us := c.servers["eu"].Addresses().Client, c.servers["us"].Addresses().Client
	for _, line := range [][2]string{
		{eu, "counter incr hits 5"}, {eu, "set add cart apple pear"}, {us, "set members cart"}, {us, "status"}, {us, "verify"},
	} {
		fmt.Fprintf(out, "  %s --server %s %s\n", command, line[0], line[1])
	}
	<-ctx.Done()
}
