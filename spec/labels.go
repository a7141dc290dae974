package spec

// Container label keys that the scheduler stamps on every container. They carry identity and the schema version only;
// what can change lives in the host document.
const (
	LabelSchema  = "berth.schema"  // "1"
	LabelApp     = "berth.app"     // "/prod/web"
	LabelSeat    = "berth.seat"    // "0"
	LabelTask    = "berth.task"    // Mesos task id
	LabelVersion = "berth.version" // app version
	LabelCPUs    = "berth.cpus"    // the base CPU quota in cores, "0.5"
	// LabelContainer is the name of a pod's container. The pod's sandbox, which holds the network, has none: its LabelTask is
	// the instance's id, that of each container its own task id.
	LabelContainer = "berth.container"
)

// LabelSchemaVersion is the value of LabelSchema.
const LabelSchemaVersion = "1"

// LabelPrefix is the prefix of every container label that Berth owns; definitions may not set one.
const LabelPrefix = "berth."

// App label keys by which a definition asks for what Marathon has no field for.
const (
	AppLabelIPs      = "BERTH_IPS"         // comma separated addresses, seat 0 first
	AppLabelPool     = "BERTH_POOL"        // pool name; default: the network's name, then the default pool
	AppLabelIdentity = "BERTH_IDENTITY"    // "seat" (default) or "float"
	AppLabelService  = "BERTH_SERVICE"     // Consul service name; default: the id with "-" for "/"
	AppLabelTags     = "BERTH_TAGS"        // comma separated Consul tags
	AppLabelIngress  = "BERTH_INGRESS"     // bound of what an instance receives, "100Mbit"; on hosts in routed mode
	AppLabelEgress   = "BERTH_EGRESS"      // the same of what it sends
	AppLabelStartup  = "BERTH_CPU_STARTUP" // "2x30s": twice the quota for the first 30 s
	AppLabelMaxCPUs  = "BERTH_CPU_MAX"     // cores that the scheduler holds for an instance, up to which it can be resized while it runs
	AppLabelBurst    = "BERTH_CPU_BURST"   // CPU time that may be saved up and used at once, "50ms"; where the kernel has it
	AppLabelWeight   = "BERTH_CPU_WEIGHT"  // share of a core that is fought over, as cpu.shares; default: 1024 a core
	// AppLabelServiceWeight is the share of requests of each of the app's instances, for clients that weigh (Consul's
	// Weights.Passing): 1 to 65535, 1 by default.
	AppLabelServiceWeight = "BERTH_WEIGHT"
	AppLabelDrain         = "BERTH_DRAIN_SECONDS" // longest wait for connections to end, after clients are no longer sent there and before the kill
	AppLabelLimits        = "BERTH_LIMITS"        // "visible" (default) or "hidden": whether programs are shown what the instance may use
)

// LimitsHidden is the value of AppLabelLimits by which programs see the machine, as in plain Docker.
const LimitsHidden = "hidden"

// AttributeLXCFS is the attribute of a host that runs lxcfs. Its value is lxcfs's folder, or any word for the usual one.
const AttributeLXCFS = "lxcfs"

// LXCFSFolder is where lxcfs usually is.
const LXCFSFolder = "/var/lib/lxcfs"

// AppLabelPrefix is the prefix of all of them.
const AppLabelPrefix = "BERTH_"

// BaseImage is the image of apps that name none; make up and `berth` build it.
const BaseImage = "berth/base:bookworm"

// SeatMount is where a seat's folder (SSH host keys, authorized_keys, motd) is mounted read-only in the container.
const SeatMount = "/etc/berth"
