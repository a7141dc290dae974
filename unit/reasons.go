package unit

import (
	"slices"
	"strings"
)

// why is a group of settings that have no effect for one reason. A key that ends in "*" stands for all that begin so.
type why struct {
	reason string
	keys   string
}

var serviceReasons = []why{
	{"a container's file system is its own and may not be mounted anew by it",
		"Protect* ReadWritePaths ReadOnlyPaths InaccessiblePaths ReadWriteDirectories ReadOnlyDirectories InaccessibleDirectories ExecPaths " +
			"NoExecPaths TemporaryFileSystem BindPaths BindReadOnlyPaths MountFlags MountAPIVFS PrivateMounts MountImages ExtensionImages " +
			"ExtensionDirectories RootImage* RootHash* RootVerity RootEphemeral RootDirectoryStartOnly ProcSubset"},
	{"the container is the sandbox: a service in it gets no namespaces and filters of its own",
		"Private* Restrict* SystemCall* LockPersonality MemoryDenyWriteExecute CapabilityBoundingSet SecureBits SELinuxContext " +
			"AppArmorProfile SmackProcessLabel NetworkNamespacePath IPCNamespacePath KeyringMode RemoveIPC Personality CoredumpFilter NUMA* " +
			"SELinuxContextFromNet JoinsNamespaceOf UserNamespacePath"},
	{"the limits are the application's: a container has one control group",
		"CPU* Memory* Tasks* IO* BlockIO* IP* Slice Delegate* Device* ManagedOOM* StartupCPU* StartupIO* StartupMemory* StartupBlockIO* " +
			"StartupAllowed* Allowed* DisableControllers SocketBind* NFTSet BPFProgram OOMPolicy"},
	{"scheduling classes belong to the host", "IOScheduling* CPUScheduling* TimerSlackNSec"},
	{"who may own a name is the bus's to say", "BusPolicy"},
	{"a service that its watchdog misses is killed", "WatchdogSignal TimeoutAbortSec"},
	{"descriptors are not kept for a service, and those of its sockets are as it finds them", "NonBlocking FileDescriptor* USBFunction* OpenFile"},
	{"a service's lines are kept without levels and limits", "SyslogFacility SyslogLevel SyslogLevelPrefix LogLevelMax LogRateLimit* LogExtraFields " +
		"LogNamespace LogFilterPatterns"},
	{"a service has no terminal in a container", "TTY* UtmpIdentifier UtmpMode PAMName StandardInputText StandardInputData"},
	{"there are no credentials of a manager in a container", "LoadCredential* SetCredential* ImportCredential"},
	{"a container is not rebooted for a service", "SuccessAction* FailureAction* RebootArgument StartLimitAction"},
	{"the end of the main process is the end of the service", "ExitType"},
	{"a process over its time is killed", "TimeoutStartFailureMode TimeoutStopFailureMode"},
}

var unitReasons = []why{
	{"a container is not rebooted for a unit", "SuccessAction* FailureAction* RebootArgument StartLimitAction JobTimeoutAction JobTimeoutRebootArgument"},
	{"no job waits: each has the time-outs of its service", "JobTimeoutSec JobRunningTimeoutSec OnFailureJobMode OnSuccessJobMode OnFailureIsolate"},
	{"a service runs until it is stopped itself", "StopWhenUnneeded Upholds StopPropagatedFrom PropagatesStopTo"},
	{"the container is the sandbox: a service in it gets no namespaces and filters of its own", "JoinsNamespaceOf"},
}

// reasonAgainst says why a known setting has no effect; empty for one that systemd does not know, either.
func reasonAgainst(section, key string) string {
	switch section {
	case "Socket":
		return ""
	case "Path":
		return "nobody watches paths in a container"
	case "Mount", "Automount", "Swap":
		return "a container may not mount"
	case "Slice", "Scope", "Device":
		return "the limits are the application's: a container has one control group"
	case "Timer":
		return ""
	}
	groups := serviceReasons
	if section == "Unit" {
		groups = unitReasons
	}
	for _, g := range groups {
		if slices.ContainsFunc(strings.Fields(g.keys), func(k string) bool {
			prefix, wild := strings.CutSuffix(k, "*")
			return k == key || wild && strings.HasPrefix(key, prefix)
		}) {
			return g.reason
		}
	}
	return ""
}
