import type { DescEnum, DescExtension, DescFile, DescMessage, DescService } from "@bufbuild/protobuf";

/** Where each name of the served schema is defined. */
export interface DescriptorIndex {
  /** By file name with its suffix, such as `lobsterd/vm/v1/tenant.proto`. */
  readonly byName: ReadonlyMap<string, DescFile>;
  /** By full name of a message, field, oneof, enum, enum value, extension, service or method. */
  readonly bySymbol: ReadonlyMap<string, DescFile>;
  /** By full name of the extended message and the extension's number. */
  readonly byExtension: ReadonlyMap<string, ReadonlyMap<number, DescFile>>;
}

/** Indexes the files of `services` and everything they import. */
export function indexDescriptors(services: readonly DescService[]): DescriptorIndex {
  const byName = new Map<string, DescFile>();
  const bySymbol = new Map<string, DescFile>();
  const byExtension = new Map<string, Map<number, DescFile>>();

  const addEnum = (descriptor: DescEnum): void => {
    bySymbol.set(descriptor.typeName, descriptor.file);
    // An enum's values stand beside it in the name space, not inside it.
    const scope = descriptor.typeName.slice(0, descriptor.typeName.lastIndexOf(".") + 1);
    for (const value of descriptor.values) bySymbol.set(`${scope}${value.name}`, descriptor.file);
  };
  const addExtension = (descriptor: DescExtension): void => {
    bySymbol.set(descriptor.typeName, descriptor.file);
    const numbers = byExtension.get(descriptor.extendee.typeName) ?? new Map<number, DescFile>();
    numbers.set(descriptor.number, descriptor.file);
    byExtension.set(descriptor.extendee.typeName, numbers);
  };
  const addMessage = (descriptor: DescMessage): void => {
    bySymbol.set(descriptor.typeName, descriptor.file);
    for (const { name } of [...descriptor.fields, ...descriptor.oneofs]) {
      bySymbol.set(`${descriptor.typeName}.${name}`, descriptor.file);
    }
    for (const nested of descriptor.nestedMessages) addMessage(nested);
    for (const nested of descriptor.nestedEnums) addEnum(nested);
    for (const nested of descriptor.nestedExtensions) addExtension(nested);
  };
  const addService = (descriptor: DescService): void => {
    bySymbol.set(descriptor.typeName, descriptor.file);
    for (const { name } of descriptor.methods) bySymbol.set(`${descriptor.typeName}.${name}`, descriptor.file);
  };
  const addFile = (file: DescFile): void => {
    if (byName.has(file.proto.name)) return;
    byName.set(file.proto.name, file);
    for (const message of file.messages) addMessage(message);
    for (const descriptor of file.enums) addEnum(descriptor);
    for (const extension of file.extensions) addExtension(extension);
    for (const service of file.services) addService(service);
    for (const dependency of file.dependencies) addFile(dependency);
  };

  for (const { file } of services) addFile(file);
  return { byName, bySymbol, byExtension };
}
