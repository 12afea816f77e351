/**
 * A variable of this process's environment, for what the platform itself puts there (`CREDENTIALS_DIRECTORY`). Configuration is a file: an
 * environment is readable in `/proc` for the life of the process, and every child inherits it.
 */
export function lookUpEnvironment(name: string): string | undefined {
  return process.env[name];
}
