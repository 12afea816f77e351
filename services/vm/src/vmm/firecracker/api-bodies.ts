/** Request bodies of Firecracker 1.16.1 as far as this adapter sends them; what it never sends has no field. */

export interface TokenBucket {
  readonly size: number;
  readonly one_time_burst?: number;
  /** Milliseconds. */
  readonly refill_time: number;
}

export interface RateLimiter {
  readonly bandwidth?: TokenBucket;
  readonly ops?: TokenBucket;
}

export interface LoggerBody {
  readonly log_path: string;
  readonly level: "Warning";
  readonly show_level: boolean;
  readonly show_log_origin: boolean;
}

export interface MetricsBody {
  readonly metrics_path: string;
}

export interface SerialBody {
  readonly serial_out_path: string;
  /** A bare bucket, unlike a drive's. */
  readonly rate_limiter: TokenBucket;
}

export interface MachineConfigurationBody {
  readonly vcpu_count: number;
  readonly mem_size_mib: number;
  readonly smt: false;
  readonly track_dirty_pages: false;
  readonly huge_pages: "None";
}

export interface BootSourceBody {
  readonly kernel_image_path: string;
  readonly initrd_path: string;
  readonly boot_args: string;
}

export interface DriveBody<Id extends DriveId = DriveId> {
  readonly drive_id: Id;
  readonly path_on_host: string;
  readonly is_root_device: boolean;
  readonly is_read_only: boolean;
  readonly cache_type: "Unsafe" | "Writeback";
  readonly io_engine: "Sync";
  readonly rate_limiter: RateLimiter;
}

export type DriveId = "rootfs" | "overlay" | "cfg";

export interface NetworkInterfaceBody {
  readonly iface_id: "eth0";
  readonly host_dev_name: string;
  readonly guest_mac: string;
  readonly rx_rate_limiter: RateLimiter;
  readonly tx_rate_limiter: RateLimiter;
}

export interface EntropyBody {
  readonly rate_limiter: RateLimiter;
}

export interface SnapshotCreateBody {
  readonly snapshot_type: "Full";
  readonly snapshot_path: string;
  readonly mem_file_path: string;
}

export interface SnapshotLoadBody {
  readonly snapshot_path: string;
  readonly mem_backend: { readonly backend_type: "File"; readonly backend_path: string };
  /** Whoever loads decides later, and durably, that the machine may run: a snapshot runs once. */
  readonly resume_vm: false;
}
