package nats

import (
	"net/url"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/atolldb/atoll/transport"
)

const (
	// maxPendingBytes is what a server keeps for a receiver that does not keep
	// up, before it closes the connection. The default of 64 MB is one burst.
	maxPendingBytes = 256 << 20
	// pingInterval decides how soon a silent link is found dead: after the
	// third ping, 4 to 6 s. Where addresses change with the heal, as those of
	// containers do, regions agree that much later.
	pingInterval = 2 * time.Second
	// linkWriteDeadline bounds what queues up towards a dead server.
	linkWriteDeadline = 2 * time.Second
)

// serverOptions translates options that have been validated.
func serverOptions(o Options) *server.Options {
	options := &server.Options{
		// Unique among all regions: a gateway to a namesake is refused.
		ServerName: o.Region + "." + o.Name,
		NoSigs:     true,
		MaxPayload: transport.MaxMessageBytes,
		MaxPending: maxPendingBytes,
		// Or one silent link throttles every publisher, towards all regions.
		NoFastProducerStall: true,
		PingInterval:        pingInterval,
		Cluster: server.ClusterOpts{
			Name:          o.Region,
			WriteDeadline: linkWriteDeadline,
			WriteTimeout:  server.WriteTimeoutPolicyClose,
		},
		Gateway: server.GatewayOpts{
			Name:          o.Region,
			Advertise:     o.GatewayAdvertise,
			WriteDeadline: linkWriteDeadline,
			WriteTimeout:  server.WriteTimeoutPolicyClose,
		},
	}
	options.Host, options.Port = listenAddress(o.ClientListen)
	options.Cluster.Host, options.Cluster.Port = listenAddress(o.ClusterListen)
	options.Gateway.Host, options.Gateway.Port = listenAddress(o.GatewayListen)
	for _, address := range o.Routes {
		options.Routes = append(options.Routes, peerURL(address))
	}
	for region, addresses := range o.Gateways {
		if region == o.Region {
			continue
		}
		remote := &server.RemoteGatewayOpts{Name: region}
		for _, address := range addresses {
			remote.URLs = append(remote.URLs, peerURL(address))
		}
		options.Gateway.Gateways = append(options.Gateway.Gateways, remote)
	}
	return options
}

// listenAddress returns host and port as a server wants them: to it, 0 means
// a port by default or none, -1 a free one.
func listenAddress(address string) (string, int) {
	host, port, _ := splitAddress("", address, 0)
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port
}

func peerURL(address string) *url.URL { return &url.URL{Scheme: "nats", Host: address} }
