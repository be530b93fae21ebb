import { driverSuite, levelProperty } from '../../../test/suites/driver.ts'
import { createDriver } from './fake.ts'

const device = { namespace: 'default', name: 'd', protocol: 'fake', config: {}, properties: [levelProperty()] }
driverSuite('fake driver', async () => ({ driver: createDriver(), device, wrong: { ...device, config: { wrong: 1 } }, close: async () => undefined }))
